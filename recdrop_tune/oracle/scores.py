"""What every trial of a search is worth, those included that were stopped before their end."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import median
from typing import Any

from recdrop_tune.errors import invalid_argument

# What a trial's epochs are worth: its best epoch, one objective or several.


def objectives(objective: Any) -> list[Any]:
    """Lists the objectives of a search, also where it has one."""
    return list(getattr(objective, "objectives", [objective]))


def first_value(trial: Any, objective: Any) -> float:
    """Returns a complete trial's value of the first objective, in the metric's own sign."""
    first = objectives(objective)[0]
    if first is objective:
        return float(trial.score)
    # Of several objectives Keras Tuner's own oracles take the sum for the score.
    return metrics_at(trial, trial.best_step)[first.name]


@dataclass(frozen=True)
class Reached:
    """What a trial reached at its best epoch. Tables, journal, MLflow and Optuna are all given this.

    Attributes:
        step: The best epoch, as it was reported; `None` if no epoch had a finite objective.
        value: The first objective there.
        metrics: All metrics there, those of several trainings as means.
        std: Sample standard deviation of the objective over the trainings there; `None` of one training.
        values: The objective there in each training.
    """

    step: int | None = None
    value: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    std: float | None = None
    values: tuple[float, ...] = ()

    @property
    def trainings(self) -> int:
        """How many trainings there were."""
        return len(self.values)


def reached(trial: Any, objective: Any) -> Reached:
    """Returns what a trial reached that is complete or was stopped early; of any other one nothing."""
    first = objectives(objective)[0]
    complete = trial.status == "COMPLETED"
    if complete:
        step = None if trial.best_step is None else int(trial.best_step)
    else:
        step = best_step(trial, first) if trial.status == "STOPPED" else None
    if step is None and not complete:
        return Reached()
    metrics = metrics_at(trial, step)
    if first is not objective:
        metrics.pop(objective.name, None)  # Keras Tuner's sum of them all.
    value = first_value(trial, objective) if complete else metrics[first.name]
    values = _trainings_at(trial, first.name, step)
    std = statistics.stdev(values) if len(values) > 1 else None
    return Reached(step, value, metrics, std, tuple(values))


def forget_metrics(trial: Any) -> None:
    """Drops what a trial has reported, for another attempt at it."""
    trial.metrics = type(trial.metrics)()


def metrics_at(trial: Any, step: int | None) -> dict[str, float]:
    """Returns the metrics of one epoch of a trial; of the last one where there is no such epoch.

    Args:
        trial: A trial of Keras Tuner's. Of several trainings the mean counts.
        step: The epoch, as it was reported.
    """
    found = {}
    for name in trial.metrics.metrics:
        values = {each.step: float(each.mean()) for each in trial.metrics.get_history(name)}
        last = values[max(values)] if values else math.nan
        found[name] = values.get(step, last) if step is not None else last
    return found


def curve(trial: Any, name: str) -> list[tuple[int, float]]:
    """Lists the epochs that reported a metric, and its values; of several trainings the mean counts."""
    history = trial.metrics.get_history(name) if trial.metrics.exists(name) else []
    return [(int(each.step), float(each.mean())) for each in history]


def _trainings_at(trial: Any, name: str, step: int | None) -> list[float]:
    """Lists what each training of a trial reported at an epoch."""
    history = trial.metrics.get_history(name) if trial.metrics.exists(name) else []
    return [float(value) for each in history if each.step == step for value in each.value]


def best_step(trial: Any, objective: Any) -> int | None:
    """Finds the epoch with the best finite value of an objective; the first of equal ones."""
    history = trial.metrics.get_history(objective.name) if _has(trial, objective) else []
    finite = [each for each in history if math.isfinite(each.mean())]
    if not finite:
        return None
    sign = -1.0 if objective.direction == "max" else 1.0
    return int(min(finite, key=lambda each: sign * each.mean()).step)


def score(trial: Any, objective: Any) -> None:
    """Writes the score of a trial and the epoch that it is from.

    Of several objectives the first one picks the epoch, and the score is its value (negative if it is
    to grow), so that Keras Tuner's own ranking goes by it.
    """
    first = objectives(objective)[0]
    step = best_step(trial, first)
    if step is None:
        trial.score = math.nan
        return
    value = metrics_at(trial, step)[first.name]
    flipped = first is not objective and first.direction == "max"
    trial.best_step, trial.score = step, -value if flipped else value


def values_of(trial: Any, objective: Any) -> list[float]:
    """Returns the value of each objective at the trial's best epoch."""
    metrics = metrics_at(trial, trial.best_step)
    return [metrics[each.name] for each in objectives(objective)]


def pareto(trials: Iterable[Any], objective: Any) -> list[Any]:
    """Picks the complete trials that no other one beats in every objective."""
    signs = [-1.0 if each.direction == "max" else 1.0 for each in objectives(objective)]
    complete = [trial for trial in trials if trial.status == "COMPLETED"]
    points = [
        tuple(s * v for s, v in zip(signs, values_of(trial, objective), strict=True))
        for trial in complete
    ]
    return [
        trial
        for trial, point in zip(complete, points, strict=True)
        if not any(_dominates(other, point) for other in points)
    ]


def check_directions(objective: Any) -> None:
    """Refuses one metric as two objectives.

    Raises:
        InvalidArgumentError: A metric comes twice.
    """
    names = [each.name for each in objectives(objective)]
    if len(set(names)) < len(names):
        raise invalid_argument("objective", expected="different metrics", received=names)


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _has(trial: Any, objective: Any) -> bool:
    return bool(trial.metrics.exists(objective.name))


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
