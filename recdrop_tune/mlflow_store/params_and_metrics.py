"""The parameters, tags and metrics that MLflow gets from an event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recdrop_tune import events
from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.mlflow_store.runs import Point
from recdrop_tune.records import TrialRecord
from recdrop_tune.tuner import MILLISECONDS


def search_params(search: events.SearchStarted) -> dict[str, Any]:
    """Returns the parameters of the run of a search."""
    params = {name: getattr(search, name) for name in ("tuner", "objective", "direction")}
    if search.context is not None:
        params["data"] = search.context.words
        params |= {f"constant {name}": value for name, value in search.context.constant.items()}
    return params | {"max_trials": search.max_trials, **search.info}


def trial_params(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of a trial's run: its hyperparameters, with rate 0 for no dropout.

    A chart leaves out a trial with the parameter `n/a` if those of other trials are numbers. If each site
    has a rate of its own, the common rate stays `n/a`. So does a learned rate, which is a metric.
    """
    zeros = {}
    for name, value in hyperparameters.items():
        layer, slash, last = name.rpartition("/")
        # `rate`, or one of a site: `encoder/rate.input`.
        is_rate = last.partition(".")[0] == "rate"
        by_site = any(other.startswith(f"{name}.") for other in hyperparameters)
        technique = TECHNIQUES.get(hyperparameters.get(f"{layer}{slash}wrapper", ""))
        learned = technique is not None and technique.learns_rate
        if value is None and is_rate and not by_site and not learned:
            zeros[name] = 0
    return {**hyperparameters, **zeros}


def epoch_points(event: events.EpochEnded) -> list[Point]:
    """Returns the metrics of an epoch, under Keras's names; further trainings are numbered.

    The time of a step is a number of the whole trial: a chart would show the last epoch's.
    """
    prefix = f"execution{event.execution + 1}/" if event.execution else ""
    named = {f"{prefix}{k}": v for k, v in event.metrics.items() if k != MILLISECONDS}
    return points(named, event.epoch, event.time)


def end_points(record: TrialRecord, end: events.TrialEnded) -> list[Point]:
    """Returns the metrics of a whole trial, under names that are the same in every search."""
    # Tables sort by `objective`, and the score of a pruned trial is not comparable.
    name = "objective_at_prune" if end.status == events.PRUNED else "objective"
    numbers = {
        name: end.score,
        "objective_std": end.std,
        "best_epoch": record.best_epoch,
        "epochs_run": len(record.epochs),
        "train_seconds": record.seconds,
        MILLISECONDS: record.ms_per_step,
    }
    known = {name: value for name, value in numbers.items() if value is not None}
    return [*points(known, 0, end.time), *_best_epoch_again(record, end)]


def _best_epoch_again(record: TrialRecord, end: events.TrialEnded) -> list[Point]:
    """Repeats the metrics of the best epoch as one further step, unless it is the last epoch.

    MLflow's pages show the last value of a metric, which would not match the trial's score. MLflow's own
    Keras logging does the same when `EarlyStopping` restores the best weights.
    """
    if not record.epochs:
        return []
    last = record.epochs[-1]
    best = {name: value for name, value in end.metrics.items() if name != MILLISECONDS}
    if all(last.metrics.get(name) == value for name, value in best.items()):
        return []
    return points(best, last.epoch + 1, end.time)


def best_tags(event: events.ResultSaved) -> dict[str, Any]:
    """Returns the best configuration as tags, which can change when a search is resumed."""
    return {f"best.{name}": value for name, value in event.best.items()}


def result_points(event: events.ResultSaved) -> list[Point]:
    """Returns the metrics of a whole search."""
    return points(event.metrics, 0, event.time)


def confirmation_points(event: events.ConfirmationEnded) -> list[Point]:
    """Returns the metrics of a training of the confirmation; none if it failed."""
    if event.score is None:
        return []
    name = "confirmed_twin" if event.twin else "confirmed"
    metrics = {f"{name}/{metric}": value for metric, value in event.metrics.items()}
    return points({**metrics, name: event.score}, event.repeat, event.time)


def points(values: Mapping[str, float], step: int, when: float) -> list[Point]:
    """Returns the points of several metrics at one step and time."""
    return [Point(name, float(value), step, when) for name, value in values.items()]
