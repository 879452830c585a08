"""The oracle: Optuna behind Keras Tuner's protocol, and what every oracle here needs to survive a crash."""

from recdrop_tune.oracle.chief import check_seconds, is_chief
from recdrop_tune.oracle.conditions import (
    HyperParameter,
    ResumesGrid,
    distribution,
    is_active,
    is_fixed,
    middle,
    plain,
    to_drawn,
    walk,
)
from recdrop_tune.oracle.optuna_oracle import NOT_A_NUMBER, OUT_OF_MEMORY, OptunaOracle
from recdrop_tune.oracle.parameters import Parameter
from recdrop_tune.oracle.proposals import not_again
from recdrop_tune.oracle.pruners import HalvingPruner, make_pruner
from recdrop_tune.oracle.rebuilt import (
    LOST,
    decide_whether_to_go_on,
    read_object,
    read_trial,
    say,
    set_aside,
)
from recdrop_tune.oracle.samplers import make_sampler, quiet_optuna
from recdrop_tune.oracle.scores import (
    Reached,
    best_step,
    first_value,
    forget_metrics,
    metrics_at,
    objectives,
    reached,
    values_of,
)
from recdrop_tune.oracle.study import study_of
from recdrop_tune.oracle.supervision import Supervised, ended_trial, supervised
from recdrop_tune.oracle.surrogate_sampler import SurrogateSampler
from recdrop_tune.oracle.trial_files import Resumable, settled, unnoted
from recdrop_tune.oracle.twins import (
    NONE,
    Configuration,
    TrainsTwin,
    active_values,
    best_dropping,
    due_twin,
    front,
    has_dropout,
    is_wrapper,
    offers_none,
    ranked,
    twin_among,
    twin_of,
)

__all__ = [
    "LOST",
    "NONE",
    "NOT_A_NUMBER",
    "OUT_OF_MEMORY",
    "Configuration",
    "HalvingPruner",
    "HyperParameter",
    "OptunaOracle",
    "Parameter",
    "Reached",
    "Resumable",
    "ResumesGrid",
    "Supervised",
    "SurrogateSampler",
    "TrainsTwin",
    "active_values",
    "best_dropping",
    "best_step",
    "check_seconds",
    "decide_whether_to_go_on",
    "distribution",
    "due_twin",
    "ended_trial",
    "first_value",
    "forget_metrics",
    "front",
    "has_dropout",
    "is_active",
    "is_chief",
    "is_fixed",
    "is_wrapper",
    "make_pruner",
    "make_sampler",
    "metrics_at",
    "middle",
    "not_again",
    "objectives",
    "offers_none",
    "plain",
    "quiet_optuna",
    "ranked",
    "reached",
    "read_object",
    "read_trial",
    "say",
    "set_aside",
    "settled",
    "study_of",
    "supervised",
    "to_drawn",
    "twin_among",
    "twin_of",
    "unnoted",
    "values_of",
    "walk",
]
