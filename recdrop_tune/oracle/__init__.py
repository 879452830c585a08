"""The oracle: Optuna behind Keras Tuner's protocol, and what every oracle here needs to survive a crash."""

from recdrop_tune.oracle.failures import (
    NOT_A_NUMBER,
    OUT_OF_MEMORY,
    TooManyFailuresError,
)
from recdrop_tune.oracle.optuna_oracle import OptunaOracle
from recdrop_tune.oracle.proposals import (
    exhausted,
    fewer_than_trials,
    other_names,
)
from recdrop_tune.oracle.pruners import HalvingPruner, make_pruner
from recdrop_tune.oracle.scores import (
    best_step,
    forget_metrics,
    metrics_at,
    reached,
    single_objective,
)
from recdrop_tune.oracle.study import delete_study
from recdrop_tune.oracle.surrogate import SurrogateSampler
from recdrop_tune.oracle.translation import (
    active_values,
    check_names,
    read_space,
    read_values,
)
from recdrop_tune.oracle.trial_files import (
    END_STATUSES,
    read_object,
    read_trial,
    save_trial,
    state_of,
)
from recdrop_tune.oracle.twins import (
    trial_of,
    twin_of,
)

__all__ = [
    "END_STATUSES",
    "NOT_A_NUMBER",
    "OUT_OF_MEMORY",
    "HalvingPruner",
    "OptunaOracle",
    "SurrogateSampler",
    "TooManyFailuresError",
    "active_values",
    "best_step",
    "check_names",
    "delete_study",
    "exhausted",
    "fewer_than_trials",
    "forget_metrics",
    "make_pruner",
    "metrics_at",
    "other_names",
    "reached",
    "read_object",
    "read_space",
    "read_trial",
    "read_values",
    "save_trial",
    "single_objective",
    "state_of",
    "trial_of",
    "twin_of",
]
