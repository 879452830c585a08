"""The oracle: Optuna behind Keras Tuner's protocol, and what every oracle here needs to survive a crash."""

from recdrop_tune.oracle.conditions import (
    HyperParameter,
    is_active,
    is_fixed,
    middle,
    plain,
    walk,
)
from recdrop_tune.oracle.failures import (
    NOT_A_NUMBER,
    OUT_OF_MEMORY,
    TooManyFailuresError,
    has_ended_by_failures,
)
from recdrop_tune.oracle.known_points import as_point, complete, in_words
from recdrop_tune.oracle.optuna_oracle import OptunaOracle
from recdrop_tune.oracle.parameters import Parameter
from recdrop_tune.oracle.proposals import exhausted, fewer_than_trials, not_again
from recdrop_tune.oracle.pruners import HalvingPruner, make_pruner
from recdrop_tune.oracle.repairs import (
    LOST,
    ResumesGrid,
    decide_whether_to_go_on,
    is_chief,
    read_object,
    read_trial,
    say,
    set_aside,
)
from recdrop_tune.oracle.reruns import (
    Resumable,
    ended_trial,
    settled,
    supervised,
    unnoted,
)
from recdrop_tune.oracle.samplers import SurrogateSampler, make_sampler, quiet_optuna
from recdrop_tune.oracle.scores import (
    best_step,
    first_value,
    forget_metrics,
    metrics_at,
    objectives,
    reached,
    values_of,
)
from recdrop_tune.oracle.study import as_optuna, study_of
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
from recdrop_tune.oracle.warm_start import best_points, count_within

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
    "Resumable",
    "ResumesGrid",
    "SurrogateSampler",
    "TooManyFailuresError",
    "TrainsTwin",
    "active_values",
    "as_optuna",
    "as_point",
    "best_dropping",
    "best_points",
    "best_step",
    "complete",
    "count_within",
    "decide_whether_to_go_on",
    "due_twin",
    "ended_trial",
    "exhausted",
    "fewer_than_trials",
    "first_value",
    "forget_metrics",
    "front",
    "has_dropout",
    "has_ended_by_failures",
    "in_words",
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
    "twin_among",
    "twin_of",
    "unnoted",
    "values_of",
    "walk",
]
