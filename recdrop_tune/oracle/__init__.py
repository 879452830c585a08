"""The oracle: Optuna behind Keras Tuner's protocol, and what every oracle here needs to survive a crash."""

from recdrop_tune.oracle.conditions import (
    HyperParameter,
    check_names,
    is_active,
    is_fixed,
    middle,
    parameters_of,
    plain,
    walk,
)
from recdrop_tune.oracle.failures import (
    NOT_A_NUMBER,
    OUT_OF_MEMORY,
    TooManyFailuresError,
)
from recdrop_tune.oracle.optuna_oracle import OptunaOracle
from recdrop_tune.oracle.parameters import Encoding, Parameter
from recdrop_tune.oracle.proposals import (
    exhausted,
    fewer_than_trials,
    other_names,
)
from recdrop_tune.oracle.pruners import HalvingPruner, make_pruner
from recdrop_tune.oracle.samplers import quiet_optuna
from recdrop_tune.oracle.scores import (
    best_step,
    forget_metrics,
    metrics_at,
    reached,
    single_objective,
)
from recdrop_tune.oracle.study import as_optuna, delete_study, study_of
from recdrop_tune.oracle.surrogate import SurrogateSampler
from recdrop_tune.oracle.translation import read_space, read_values
from recdrop_tune.oracle.trial_files import (
    ENDED,
    damage_named,
    read_object,
    read_trial,
    save_trial,
    settled,
    state_of,
    trial_from_state,
    unnoted,
)
from recdrop_tune.oracle.twins import (
    active_values,
    has_dropout,
    is_wrapper,
    offers_none,
    ranked,
    same_among,
    trial_of,
    twin_among,
    twin_of,
)
from recdrop_tune.oracle.workers import give_up, take_back

__all__ = [
    "ENDED",
    "NOT_A_NUMBER",
    "OUT_OF_MEMORY",
    "Encoding",
    "HalvingPruner",
    "HyperParameter",
    "OptunaOracle",
    "Parameter",
    "SurrogateSampler",
    "TooManyFailuresError",
    "active_values",
    "as_optuna",
    "best_step",
    "check_names",
    "damage_named",
    "delete_study",
    "exhausted",
    "fewer_than_trials",
    "forget_metrics",
    "give_up",
    "has_dropout",
    "is_active",
    "is_fixed",
    "is_wrapper",
    "make_pruner",
    "metrics_at",
    "middle",
    "offers_none",
    "other_names",
    "parameters_of",
    "plain",
    "quiet_optuna",
    "ranked",
    "reached",
    "read_object",
    "read_space",
    "read_trial",
    "read_values",
    "same_among",
    "save_trial",
    "settled",
    "single_objective",
    "state_of",
    "study_of",
    "take_back",
    "trial_from_state",
    "trial_of",
    "twin_among",
    "twin_of",
    "unnoted",
    "walk",
]
