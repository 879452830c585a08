"""What every trial of a search is worth, those included that were stopped before their end."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import median
from typing import Any

import keras_tuner as kt
from optuna.trial import FrozenTrial, TrialState

from recdrop_tune.errors import invalid_argument
from recdrop_tune.oracle.parameters import Key, key_of


def objectives(objective: Any) -> list[Any]:
    """Lists the objectives of a search, also where it has one."""
    return list(getattr(objective, "objectives", [objective]))


class SeveralObjectives(kt.Objective):
    """Several objectives, of which the first one picks the best epoch, where Keras Tuner's own adds them up.

    Whatever compares epochs by it goes by the first one: the score, and the weights that are kept.

    Args:
        objectives: The objectives.
    """

    def __init__(self, objectives: Iterable[kt.Objective]) -> None:
        super().__init__("multi_objective", "min")  # Keras Tuner's name for several.
        self.objectives = list(objectives)

    def has_value(self, logs: Mapping[str, float]) -> bool:
        """Says whether each of the objectives is among the metrics of an epoch."""
        return all(each.has_value(logs) for each in self.objectives)

    def get_value(self, logs: Mapping[str, float]) -> float:
        """Returns the first objective, negative if it is to grow; NaN where one of them is no number."""
        values = [float(each.get_value(logs)) for each in self.objectives]
        if not all(map(math.isfinite, values)):
            return math.nan
        return -values[0] if self.objectives[0].direction == "max" else values[0]

    def completed(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Returns the metrics of an epoch with the value of all objectives together among them.

        Raises:
            InvalidArgumentError: One of the objectives is missing.
        """
        if self.has_value(metrics):
            return {self.name: self.get_value(metrics), **metrics}
        names = ", ".join(each.name for each in self.objectives)
        raise invalid_argument(
            "metrics", expected=f"a number for each objective: {names}", received=", ".join(metrics)
        )


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
        metrics.pop(objective.name, None)  # What stands for them all.
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


def first_epochs(trial: Any, name: str) -> dict[int, float]:
    """Returns what the first training of a trial reported of a metric, by epoch."""
    history = trial.metrics.get_history(name) if trial.metrics.exists(name) else []
    firsts = {int(each.step): float(each.value[0]) for each in history if each.value}
    return {step: value for step, value in firsts.items() if math.isfinite(value)}


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
    return [metrics.get(each.name, math.nan) for each in objectives(objective)]


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
    """Refuses one metric as two objectives, and a direction that is none: Keras Tuner takes any.

    Raises:
        InvalidArgumentError: A metric comes twice, or a direction is neither `"min"` nor `"max"`.
    """
    for each in objectives(objective):
        if each.direction not in ("min", "max"):
            near = str(each.direction).strip().lower()[:3]
            meant = f"Objective({each.name!r}, direction={near!r})"
            raise invalid_argument(
                "direction",
                expected="'min' or 'max'",
                received=each.direction,
                fix=f"Did you mean {meant}?" if near in ("min", "max") else "",
            )
    names = [each.name for each in objectives(objective)]
    if len(set(names)) < len(names):
        raise invalid_argument("objective", expected="different metrics", received=names)


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _has(trial: Any, objective: Any) -> bool:
    return bool(trial.metrics.exists(objective.name))


@dataclass(frozen=True)
class Ended:
    """What a trial that has ended says: the less the better, whatever the direction of the study.

    Attributes:
        key: Its configuration.
        state: How it has ended.
        value: What came of it; of a pruned one its best value, and of one without any the worst.
        steps: The steps that it reported.
        bests: The best value until each of them.
    """

    key: Key
    state: TrialState
    value: float
    steps: list[int]
    bests: list[float]


def read_ended(trial: FrozenTrial, sign: float) -> Ended:
    """Reads what a trial says that has ended.

    Args:
        trial: The trial.
        sign: 1 where the study minimizes, -1 where it maximizes.
    """
    reported = {step: sign * value for step, value in trial.intermediate_values.items()}
    steps = sorted(step for step, value in reported.items() if math.isfinite(value))
    bests = list(accumulate((reported[step] for step in steps), min))
    value = math.inf
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        value = sign * trial.value
    elif trial.state == TrialState.PRUNED and bests:
        value = bests[-1]
    return Ended(key_of(trial.params, trial.distributions), trial.state, value, steps, bests)


def outlooks(ended: Mapping[int, Ended]) -> dict[int, float]:
    """Returns what trials are worth, by their numbers: the less the better.

    A complete trial is worth its value. A pruned one is worth its best value less what the complete trials
    gained from there on (their median). One that failed is the worst, or left out where another trial of the
    same configuration did not fail.
    """
    again = {each.key for each in ended.values() if each.state != TrialState.FAIL}
    complete = [each for each in ended.values() if each.state == TrialState.COMPLETE]
    gains: dict[int, float] = {}
    found = {}
    for number, each in ended.items():
        if each.state == TrialState.FAIL and each.key in again:
            continue
        found[number] = each.value
        if each.state == TrialState.PRUNED and each.steps:
            step = each.steps[-1]
            if step not in gains:
                gains[step] = _gain(complete, step)
            found[number] -= gains[step]
    return found


def _gain(complete: Iterable[Ended], step: int) -> float:
    """Returns what complete trials gained after a step, by their median."""
    seen = [
        each.bests[bisect_right(each.steps, step) - 1] - each.value
        for each in complete
        if each.steps and each.steps[0] <= step and math.isfinite(each.value)
    ]
    return median(seen) if seen else 0.0
