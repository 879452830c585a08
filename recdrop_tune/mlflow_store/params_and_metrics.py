"""What MLflow gets of an event: parameters, tags, and points of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recdrop_tune import events
from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.mlflow_store.runs import Point
from recdrop_tune.records import TrialRecord
from recdrop_tune.tuner import MILLISECONDS


def search_params(search: events.SearchStarted) -> dict[str, Any]:
    """The parameters of the run of a search."""
    params = {name: getattr(search, name) for name in ("tuner", "objective", "direction")}
    if search.context is not None:
        params["data"] = search.context.words
        params |= {f"constant {name}": value for name, value in search.context.constant.items()}
    return params | {"max_trials": search.max_trials, **search.info}


def trial_params(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a trial's run: its hyperparameters, and 0 for the rate of what drops nothing.

    A chart leaves a trial out whose parameter is `n/a` where those of others are numbers, and no dropout is
    dropout at rate 0. Where each site has a rate, the one of all sites says nothing and stays `n/a`. So does
    the rate of what learns it: the learned ones are metrics.
    """
    drops_nothing = {
        name
        for name, value in hyperparameters.items()
        if value is None
        and _is_rate(name)
        and not _has_site_rates(name, hyperparameters)
        and not _learns_rate(name, hyperparameters)
    }
    return {**hyperparameters, **dict.fromkeys(drops_nothing, 0)}


def epoch_points(event: events.EpochEnded) -> list[Point]:
    """The metrics of an epoch, under Keras's names; those of further trainings bear their number.

    The time of a step is one number of the whole trial: charts would show the last epoch's instead.
    """
    prefix = f"execution{event.execution + 1}/" if event.execution else ""
    named = {f"{prefix}{k}": v for k, v in event.metrics.items() if k != MILLISECONDS}
    return points(named, event.epoch, event.time)


def end_points(record: TrialRecord, end: events.TrialEnded) -> list[Point]:
    """The numbers of a whole trial, under names that are the same in every search."""
    # Tables sort by `objective`: what a pruned trial had reached is no match for what others were trained to.
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
    """The metrics of the best epoch once more, as one further step, unless they are the last ones anyway.

    MLflow's pages show the last value of a metric, which would be that of another epoch than the trial's
    score. MLflow's own logging of Keras does the same where `EarlyStopping` restores the best weights.
    """
    if not record.epochs:
        return []
    last = record.epochs[-1]
    best = {name: value for name, value in end.metrics.items() if name != MILLISECONDS}
    if all(last.metrics.get(name) == value for name, value in best.items()):
        return []
    return points(best, last.epoch + 1, end.time)


def best_tags(event: events.ResultSaved) -> dict[str, Any]:
    """The best configuration, as tags: of a search that goes on it may change."""
    return {f"best.{name}": value for name, value in event.best.items()}


def result_points(event: events.ResultSaved) -> list[Point]:
    """The numbers of a whole search."""
    return points(event.metrics, 0, event.time)


def confirmation_points(event: events.ConfirmationEnded) -> list[Point]:
    """The metrics of a training of the confirmation; none of one that failed."""
    if event.score is None:
        return []
    name = "confirmed_twin" if event.twin else "confirmed"
    metrics = {f"{name}/{metric}": value for metric, value in event.metrics.items()}
    return points({**metrics, name: event.score}, event.repeat, event.time)


def _is_rate(name: str) -> bool:
    # `rate`, or one for each site: `encoder/rate.input`.
    return name.rpartition("/")[2].partition(".")[0] == "rate"


def _has_site_rates(name: str, hyperparameters: Mapping[str, Any]) -> bool:
    return any(other.startswith(f"{name}.") for other in hyperparameters)


def _learns_rate(name: str, hyperparameters: Mapping[str, Any]) -> bool:
    layer = "".join(name.rpartition("/")[:2])
    technique = TECHNIQUES.get(hyperparameters.get(f"{layer}wrapper", ""))
    return technique is not None and technique.learns_rate


def points(values: Mapping[str, float], step: int, when: float) -> list[Point]:
    """Makes points of metrics, all at one step and time."""
    return [Point(name, float(value), step, when) for name, value in values.items()]
