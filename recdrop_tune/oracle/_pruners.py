"""Makes Optuna pruners by name, patient enough for dropout."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner, PatientPruner

from recdrop_tune.errors import invalid_argument
from recdrop_tune.oracle._halving import HalvingPruner

WARM_UP = 10
"""Epochs that a trial always gets, if nothing else is said.

Dropout slows the first epochs down, most where its rate is high: judged early, the strongest dropouts
would lose whatever they are worth in the end.
"""
_STARTUP_TRIALS = 5
_PATIENCE = 2

_PRUNERS: dict[str, Any] = {
    "halving": HalvingPruner,
    "median": lambda warm_up: MedianPruner(_STARTUP_TRIALS, warm_up),
    "percentile": lambda warm_up: optuna.pruners.PercentilePruner(25.0, _STARTUP_TRIALS, warm_up),
    "asha": lambda warm_up: optuna.pruners.SuccessiveHalvingPruner(min_resource=warm_up),
    "hyperband": lambda warm_up: optuna.pruners.HyperbandPruner(min_resource=warm_up),
    "none": lambda warm_up: NopPruner(),
}


def make_pruner(name: str | None, warm_up: int | None = None) -> BasePruner:
    """Makes an Optuna pruner; `None` or `"halving"` is the default.

    By default a trial is stopped after its first epochs (`warm_up`), or after twice, four times ... as
    many, if its best so far is in the worse half of all trials' until there; but not before two trials
    are complete.

    Args:
        name: `"halving"`, `"patient_median"` (has not got better for two epochs and is worse than the
            median of the complete trials, of which there have to be five), `"median"`,
            `"percentile"` (worse than three quarters), `"asha"`, `"hyperband"` or `"none"`.
        warm_up: Epochs that a trial always gets; ten by default.

    Raises:
        InvalidArgumentError: There is no pruner of that name.
    """
    epochs = max(1, WARM_UP if warm_up is None else warm_up)
    if isinstance(name, str) and name == "patient_median":
        with warnings.catch_warnings():
            # `PatientPruner` is experimental in Optuna; chosen on purpose.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return PatientPruner(MedianPruner(_STARTUP_TRIALS, epochs), patience=_PATIENCE)
    name = "halving" if name is None else name
    if not isinstance(name, str) or name not in _PRUNERS:
        known = ", ".join(sorted([*_PRUNERS, "patient_median"]))
        raise invalid_argument(
            "pruner", expected=f"one of {known}, or a pruner of Optuna's", received=name
        )
    pruner: BasePruner = _PRUNERS[name](epochs)
    return pruner
