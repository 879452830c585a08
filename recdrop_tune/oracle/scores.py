"""The scores of trials, including those that were pruned."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import keras_tuner as kt
import numpy as np
from optuna.trial import FrozenTrial, TrialState

from recdrop_tune.errors import invalid_argument
from recdrop_tune.oracle.parameters import Key, key_of


def objectives(objective: Any) -> list[Any]:
    """Lists the objectives of a search, which can be one."""
    return list(getattr(objective, "objectives", [objective]))


def with_directions(objective: Any) -> Any:
    """Turns `{"name": "val_f1", "direction": "max"}`, also in a list, into a Keras Tuner objective."""
    if isinstance(objective, list | tuple):
        return [with_directions(each) for each in objective]
    if not isinstance(objective, Mapping):
        return objective
    return kt.Objective(**objective) if "direction" in objective else objective["name"]


class SeveralObjectives(kt.Objective):
    """Several objectives. The first one picks the best epoch, while Keras Tuner's own class adds them up.

    So the score is the first objective's, and so are the weights that are kept.
    """

    def __init__(self, objectives: Iterable[kt.Objective]) -> None:
        super().__init__("multi_objective", "min")  # Keras Tuner's name for several.
        self.objectives = list(objectives)

    def has_value(self, logs: Mapping[str, float]) -> bool:
        """Returns whether each of the objectives is among the metrics of an epoch."""
        return all(each.has_value(logs) for each in self.objectives)

    def get_value(self, logs: Mapping[str, float]) -> float:
        """Returns the first objective, negated if it is maximized; NaN if one of them is not finite."""
        values = [float(each.get_value(logs)) for each in self.objectives]
        if not all(map(math.isfinite, values)):
            return math.nan
        return -values[0] if self.objectives[0].direction == "max" else values[0]


def first_value(trial: Any, objective: Any) -> float:
    """Returns the first objective of a complete trial, with the metric's own sign."""
    first = objectives(objective)[0]
    if first is objective:
        return float(trial.score)
    # With several objectives, the score of Keras Tuner's own oracles is a sum.
    return metrics_at(trial, trial.best_step)[first.name]


@dataclass(frozen=True)
class Reached:
    """The best epoch of a trial: the one source for tables, journal, MLflow and Optuna.

    Attributes:
        step: The best epoch, as reported; None if no epoch had a finite objective.
        value: The first objective at that epoch.
        metrics: All metrics at that epoch, as means over the trainings.
        std: Sample standard deviation of the objective over the trainings; None for one training.
    """

    step: int | None = None
    value: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    std: float | None = None


def reached(trial: Any, objective: Any) -> Reached:
    """Returns the best epoch of a complete or pruned trial; an empty `Reached` for other trials."""
    first = objectives(objective)[0]
    complete = trial.status == "COMPLETED"
    step = trial.best_step if complete else None
    if trial.status == "STOPPED":
        step = best_step(trial, first)
    if step is None:
        return Reached()
    metrics = metrics_at(trial, step)
    if first is not objective:
        metrics.pop(objective.name, None)  # The combined value.
    value = first_value(trial, objective) if complete else metrics[first.name]
    history = _history(trial, first.name)
    trainings = [float(value) for each in history if each.step == step for value in each.value]
    std = statistics.stdev(trainings) if len(trainings) > 1 else None
    return Reached(int(step), value, metrics, std)


def forget_metrics(trial: Any) -> None:
    """Deletes the metrics of a Keras Tuner trial."""
    trial.metrics = type(trial.metrics)()


def metrics_at(trial: Any, step: int | None) -> dict[str, float]:
    """Returns the metrics of one epoch of a trial, or of the last epoch if that one was not reported.

    With several trainings, their mean counts.
    """
    found = {}
    for name in trial.metrics.metrics:
        values = {each.step: float(each.mean()) for each in trial.metrics.get_history(name)}
        last = values[max(values)] if values else math.nan
        found[name] = values.get(step, last) if step is not None else last
    return found


def _history(trial: Any, name: str) -> list[Any]:
    """Returns what was reported of a metric: one observation for each epoch."""
    return list(trial.metrics.get_history(name)) if trial.metrics.exists(name) else []


def first_epochs(trial: Any, name: str) -> dict[int, float]:
    """Returns the finite values of a metric in the first training of a trial, by epoch."""
    firsts = {int(each.step): float(each.value[0]) for each in _history(trial, name) if each.value}
    return {step: value for step, value in firsts.items() if math.isfinite(value)}


def best_step(trial: Any, objective: Any) -> int | None:
    """Returns the first epoch with the best finite value of an objective."""
    finite = [each for each in _history(trial, objective.name) if math.isfinite(each.mean())]
    if not finite:
        return None
    sign = -1.0 if objective.direction == "max" else 1.0
    return int(min(finite, key=lambda each: sign * each.mean()).step)


def values_of(trial: Any, objective: Any) -> list[float]:
    """Returns the value of each objective at the trial's best epoch."""
    metrics = metrics_at(trial, trial.best_step)
    return [metrics.get(each.name, math.nan) for each in objectives(objective)]


def pareto(trials: Iterable[Any], objective: Any) -> list[Any]:
    """Returns the Pareto front: the complete trials that no other one beats in every objective."""
    signs = [-1.0 if each.direction == "max" else 1.0 for each in objectives(objective)]
    complete = [trial for trial in trials if trial.status == "COMPLETED"]
    points = [np.multiply(signs, values_of(trial, objective)) for trial in complete]
    return [
        trial
        for trial, point in zip(complete, points, strict=True)
        if not any((other <= point).all() and (other < point).any() for other in points)
    ]


def check_directions(goals: Sequence[Any]) -> None:
    """Refuses invalid directions, which Keras Tuner minimizes, and one metric as two objectives.

    Raises:
        InvalidArgumentError: A metric occurs twice, or a direction is neither `"min"` nor `"max"`.
    """
    for each in goals:
        if each.direction not in ("min", "max"):
            expected = "'min' or 'max'"
            raise invalid_argument("direction", expected=expected, received=each.direction)
    names = [each.name for each in goals]
    if len(set(names)) < len(names):
        raise invalid_argument("objective", expected="different metrics", received=names)


@dataclass(frozen=True)
class Curve:
    """The values that a trial has reported; lower ones are better in every study.

    The value of a trial that is not complete is its best so far, or infinity. `bests` are the best values
    until each of the reported steps.
    """

    key: Key
    state: TrialState
    value: float
    steps: list[int]
    bests: list[float]


def read_curve(trial: FrozenTrial, sign: float) -> Curve:
    """Reads a trial; `sign` is 1 if its study minimizes, and -1 if it maximizes."""
    reported = {step: sign * value for step, value in trial.intermediate_values.items()}
    steps = sorted(step for step, value in reported.items() if math.isfinite(value))
    bests = list(accumulate((reported[step] for step in steps), min))
    value = math.inf
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        value = sign * trial.value
    elif trial.state != TrialState.FAIL and bests:
        value = bests[-1]
    return Curve(key_of(trial.params, trial.distributions), trial.state, value, steps, bests)
