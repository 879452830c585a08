"""Makes Optuna pruners by name, patient enough for dropout."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import ceil

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner, PatientPruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from recdrop_tune.errors import check_integer, invalid_argument
from recdrop_tune.oracle.surrogate import WARM

_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


class HalvingPruner(BasePruner):
    """Stops a trial after `warm_up`, twice, four times ... as many epochs, unless it is in the better half.

    It compares a trial with all trials that were trained until there, including those that were stopped
    there. Optuna's `MedianPruner` compares with complete trials only, which are survivors: it gets stricter
    with each trial that is stopped. Trials are compared by their best epoch so far. The pruner works in any
    Optuna study with one objective whose trials report each epoch, counted from 0, by `trial.report`.

    Args:
        warm_up: Epochs that a trial always gets.
        startup_trials: The number of complete trials before any is stopped.

    Raises:
        InvalidArgumentError: An argument is not an integer, or too small.

    Example:
        >>> study = optuna.create_study(pruner=HalvingPruner(10))
        >>> study.pruner.rung(25)
        20

    Reference:
        An asynchronous form of successive halving: Jamieson and Talwalkar 2016, arXiv:1502.07943; Li et al.
        2020, arXiv:1810.05934.
    """

    def __init__(self, warm_up: int = 10, startup_trials: int = 2) -> None:
        self._warm_up = check_integer("warm_up", warm_up)
        self._startup_trials = check_integer("startup_trials", startup_trials, 0)

    def rung(self, step: int) -> int | None:
        """Returns the last epoch up to `step`, counted from 0, at which trials are judged."""
        if step < self._warm_up:
            return None
        return int(self._warm_up * 2 ** ((step // self._warm_up).bit_length() - 1))

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Returns whether to stop a trial; see `optuna.pruners.BasePruner`."""
        reached = sorted(trial.intermediate_values)
        rung = self.rung(reached[-1]) if reached else None
        if rung is None or (len(reached) > 1 and reached[-2] >= rung):
            return False  # Not yet, or judged there already.
        trials = study.get_trials(deepcopy=False, states=_STATES)
        others = [t for t in trials if t.number != trial.number and WARM not in t.user_attrs]
        if sum(other.state == TrialState.COMPLETE for other in others) < self._startup_trials:
            return False
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        own = _best(trial, rung, sign)
        seen = [_best(t, rung, sign) for t in others if (t.last_step or 0) >= rung]
        return sum(value < own for value in seen) >= ceil((len(seen) + 1) / 2)


def _best(trial: FrozenTrial, rung: int, sign: float) -> float:
    """Returns the best value until a rung, or the first value of a trial that reported only later."""
    values = trial.intermediate_values
    until = [sign * value for step, value in values.items() if step <= rung]
    return min(until) if until else sign * values[min(values)]


WARM_UP = 10
"""The default number of epochs that a trial always gets.

Dropout slows the first epochs down, high rates most: judged early, strong dropout would lose even if it is
better in the end.
"""
STARTUP_TRIALS = 5
"""The number of complete trials before Optuna's pruners stop any."""


def make_pruner(
    name: str | None, warm_up: int | None = None, epochs: int | None = None
) -> BasePruner:
    """Makes an Optuna pruner.

    Args:
        name: `"halving"` (the default; see `HalvingPruner`), `"patient_median"` (has not improved for two
            epochs and is worse than the median of the complete trials, at least five), `"median"`,
            `"percentile"` (not in the best quarter), `"asha"`, `"hyperband"` or `"none"`.
        warm_up: Epochs that a trial always gets; ten by default.
        epochs: The most epochs of a trial, for Hyperband. By default Optuna reads them off the first trials.

    Raises:
        InvalidArgumentError: There is no pruner of that name.
    """
    first = max(1, WARM_UP if warm_up is None else warm_up)
    most = "auto" if epochs is None else max(first, epochs)
    pruners: dict[str, Callable[[], BasePruner]] = {
        "asha": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=first),
        "halving": lambda: HalvingPruner(first),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(first, most),
        "median": lambda: MedianPruner(STARTUP_TRIALS, first),
        "none": NopPruner,
        "patient_median": lambda: PatientPruner(MedianPruner(STARTUP_TRIALS, first), 2),
        "percentile": lambda: optuna.pruners.PercentilePruner(25.0, STARTUP_TRIALS, first),
    }
    name = "halving" if name is None else name
    if not isinstance(name, str) or name not in pruners:
        expected = f"one of {', '.join(pruners)}, or an Optuna pruner"
        raise invalid_argument("pruner", expected=expected, received=name)
    with warnings.catch_warnings():
        # `PatientPruner` is experimental in Optuna; chosen on purpose.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return pruners[name]()
