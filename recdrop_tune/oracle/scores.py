"""The objective of a search, and the scores of trials, including those that were pruned."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras_tuner as kt
from keras_tuner.engine.trial import Trial, TrialStatus

from recdrop_tune.catalog import MILLISECONDS
from recdrop_tune.errors import check_one_objective, format_repr, invalid_argument, suggestion

_GROWING = {
    *("f1score", "fbetascore", "r2score", "pearsoncorrelation", "concordancecorrelation"),
    *("cosinesimilarity", "iou", "binaryiou", "meaniou", "onehotiou", "onehotmeaniou"),
    *("precisionatrecall", "recallatprecision", "sensitivityatspecificity"),
    "specificityatsensitivity",
}
"""Keras metrics to maximize whose direction Keras Tuner (1.4.8) does not know or gets wrong."""

_USUAL = ("loss", "accuracy", "precision", "recall")
"""The metrics whose misspelt names are recognized."""


def single_objective(objective: Any) -> Any:
    """Returns an objective; `{"name": "val_f1", "direction": "max"}` as one of Keras Tuner's."""
    objective = check_one_objective(objective)
    if isinstance(objective, Mapping):
        known = objective.get("direction")
        objective = kt.Objective(**objective) if known else objective["name"]
    direction = getattr(objective, "direction", "min")
    if direction not in ("min", "max"):
        raise invalid_argument("direction", expected="'min' or 'max'", received=direction)
    return objective


def as_objective(objective: Any, reported: Iterable[str] = ()) -> kt.Objective:
    """Turns the name of a metric, or `{"name": ..., "direction": ...}`, into an objective with a direction.

    `reported` are the metrics of the model. Keras begins those of one of several outputs with its name.
    """
    objective = single_objective(objective)
    if isinstance(objective, kt.Objective):
        return objective
    kind = str(objective).removeprefix("val_")
    outputs = [each.removesuffix("loss") for each in reported if each.endswith("_loss")]
    kinds = [kind, *map(kind.removeprefix, outputs)]
    direction = next(filter(None, map(_direction, kinds)), None)
    if direction is None:
        val = "val_" * str(objective).startswith("val_")
        near = suggestion(objective, [f"{val}{name}" for name in _USUAL])
        raise invalid_argument(
            "objective",
            expected="a metric with a known direction, such as val_loss or val_accuracy",
            received=objective,
            fix=f"Pass {{'name': {format_repr(objective)}, 'direction': 'max'}}, or 'min'. {near}".rstrip(),
        )
    return kt.Objective(objective, direction)


def _direction(metric: str) -> str | None:
    if metric == MILLISECONDS:
        return "min"
    if metric.replace("_", "").lower() in _GROWING:
        return "max"
    known: str | None = kt.engine.metrics_tracking.infer_metric_direction(metric)
    return known


@dataclass(frozen=True)
class Reached:
    """The best epoch of a trial: the one source for tables, journal, MLflow and Optuna.

    `step` is None if no epoch had a finite objective. The metrics are means over the trainings, and `std` is
    the sample standard deviation of the objective over them; None for one training.
    """

    step: int | None = None
    value: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    std: float | None = None


def reached(trial: Trial, objective: Any) -> Reached:
    """Returns the best epoch of a complete or pruned trial; an empty `Reached` for other trials."""
    step = None
    if trial.status == TrialStatus.COMPLETED:
        step, value = trial.best_step, float(trial.score)
    elif trial.status == TrialStatus.STOPPED:  # It has no score for the oracle.
        step, value = best_epoch(trial, objective)
    if step is None:
        return Reached()
    metrics = metrics_at(trial, step)
    history = _history(trial, objective.name)
    trainings = [float(value) for epoch in history if epoch.step == step for value in epoch.value]
    std = statistics.stdev(trainings) if len(trainings) > 1 else None
    return Reached(int(step), value, metrics, std)


def forget_metrics(trial: Trial) -> None:
    """Deletes the metrics of a Keras Tuner trial, and its score."""
    trial.metrics, trial.score = type(trial.metrics)(), None


def metrics_at(trial: Trial, step: int | None) -> dict[str, float]:
    """Returns the metrics of one epoch of a trial, as means over its trainings; NaN where none exist."""
    metrics = {}
    for name in trial.metrics.metrics:
        values = {epoch.step: float(epoch.mean()) for epoch in _history(trial, name)}
        metrics[name] = values.get(step, math.nan)
    return metrics


def _history(trial: Trial, name: str) -> list[Any]:
    """Returns what was reported of a metric: one observation for each epoch."""
    return list(trial.metrics.get_history(name)) if trial.metrics.exists(name) else []


def first_epochs(trial: Trial, name: str) -> dict[int, float]:
    """Returns the finite values of a metric in the first training of a trial, by epoch."""
    firsts = {
        int(epoch.step): float(epoch.value[0]) for epoch in _history(trial, name) if epoch.value
    }
    return {step: value for step, value in firsts.items() if math.isfinite(value)}


def best_epoch(trial: Trial, objective: Any) -> tuple[int | None, float]:
    """Returns the first epoch with the best finite value of an objective, and the value; NaN without one."""
    sign = -1.0 if objective.direction == "max" else 1.0
    means = {int(each.step): float(each.mean()) for each in _history(trial, objective.name)}
    finite = {step: value for step, value in means.items() if math.isfinite(value)}
    best = min(finite, key=lambda step: sign * finite[step], default=None)
    return best, math.nan if best is None else finite[best]


def as_error_rates(costs: Sequence[float], maximize: bool) -> Sequence[float]:
    """Returns costs (negated values, if they are maximized) as error rates if all values are from 0 to 1."""
    bounded = maximize and all(-1 <= cost <= 0 for cost in costs if math.isfinite(cost))
    return [1 + cost for cost in costs] if bounded else costs
