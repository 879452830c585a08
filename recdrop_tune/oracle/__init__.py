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
)
from recdrop_tune.oracle.pruners import HalvingPruner, make_pruner
from recdrop_tune.oracle.scores import (
    as_objective,
    best_epoch,
    forget_metrics,
    metrics_at,
    reached,
)
from recdrop_tune.oracle.surrogate import SurrogateSampler
from recdrop_tune.oracle.translation import (
    active_values,
    check_names,
    read_space,
    read_values,
)
from recdrop_tune.oracle.trial_files import (
    state_of,
    with_end,
)
from recdrop_tune.oracle.twins import (
    trial_of,
    twin_of,
)

__all__ = [
    "NOT_A_NUMBER",
    "OUT_OF_MEMORY",
    "HalvingPruner",
    "OptunaOracle",
    "SurrogateSampler",
    "TooManyFailuresError",
    "active_values",
    "as_objective",
    "best_epoch",
    "check_names",
    "exhausted",
    "fewer_than_trials",
    "forget_metrics",
    "make_pruner",
    "metrics_at",
    "reached",
    "read_space",
    "read_values",
    "state_of",
    "trial_of",
    "twin_of",
    "with_end",
]
