"""What every trial of a search is worth, those included that were stopped before their end."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from statistics import median
from typing import Any

from recdrop_tune.oracle._scores import objectives

_ENDED = ("COMPLETED", "STOPPED", "FAILED")

Curve = tuple[list[int], list[float]]
"""The epochs of a trial, and the best until each of them."""


class Outlooks:
    """Reads what trials are worth: the less the better, whatever the direction of the objective.

    A complete trial is worth its best epoch. One that was stopped is worth its best epoch less what the
    complete trials gained from there on (their median); one that failed is the worst.
    """

    def __init__(self) -> None:
        self._curves: dict[str, Curve] = {}

    def of(self, trials: Iterable[Any], objective: Any) -> dict[str, float]:
        """Returns the outlook of each trial that has ended, by its id."""
        first, kept = objectives(objective)[0], self._curves
        ended = [trial for trial in trials if trial.status in _ENDED]
        for trial in ended:
            if trial.trial_id not in kept:
                kept[trial.trial_id] = _read(trial, first)
        complete = [kept[trial.trial_id] for trial in ended if trial.status == "COMPLETED"]
        gains: dict[int, float] = {}
        found = {}
        for trial in ended:
            steps, bests = kept[trial.trial_id]
            worth = math.inf if trial.status == "FAILED" or not bests else bests[-1]
            if trial.status == "STOPPED" and bests:
                if steps[-1] not in gains:
                    gains[steps[-1]] = _gain(complete, steps[-1])
                worth -= gains[steps[-1]]
            found[trial.trial_id] = worth
        return found


def _read(trial: Any, objective: Any) -> Curve:
    if not trial.metrics.exists(objective.name):
        return [], []
    sign = -1.0 if objective.direction == "max" else 1.0
    history = [(e.step, sign * float(e.mean())) for e in trial.metrics.get_history(objective.name)]
    finite = sorted((step, value) for step, value in history if math.isfinite(value))
    return [step for step, _ in finite], list(accumulate((value for _, value in finite), min))


def _gain(complete: list[Curve], step: int) -> float:
    """Returns what complete trials gained after an epoch, by their median."""
    seen = [
        (bests[bisect_right(steps, step) - 1], bests[-1])
        for steps, bests in complete
        if steps and steps[0] <= step
    ]
    return median(then - last for then, last in seen) if seen else 0.0
