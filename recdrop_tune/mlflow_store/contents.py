"""What MLflow's runs of a search hold, as plain values: names, tags, numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from recdrop_tune import events
from recdrop_tune.events import TrialRecord, asked
from recdrop_tune.mlflow_store.pages import searched, view_tag
from recdrop_tune.mlflow_store.runs import Point
from recdrop_tune.mlflow_store.uris import clean, parameter
from recdrop_tune.tuner import MILLISECONDS

STATUS = {
    events.COMPLETE: "FINISHED",
    events.PRUNED: "KILLED",  # The table of runs shows a status, and no tag.
    events.FAILED: "FAILED",
    events.RETRY: "FAILED",
    events.KILLED: "KILLED",
}
"""MLflow's status of a run, by how the trial ended."""


def search_tags(search: events.SearchStarted) -> dict[str, str]:
    """The tags by which the run of a search is found again."""
    return {"recdrop.kind": "search", "recdrop.search_id": search.search_id}


def view_of(search: events.SearchStarted, trials: Iterable[Mapping[str, Any]]) -> tuple[str, str]:
    """The view of a search for MLflow's pages, as key and value of a tag of the experiment.

    Args:
        search: The search.
        trials: The hyperparameters of its trials.
    """
    named = [
        {clean(name): parameter(value) for name, value in trial_params(each).items()}
        for each in trials
    ]
    ascending = search.direction != "max"
    return view_tag(search.search_id, search.objective, ascending, searched(named))


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
    dropout at rate 0. Where each site has a rate, the one of all sites says nothing and stays `n/a`.
    """
    drops_nothing = {
        name
        for name, value in hyperparameters.items()
        if value is None and _is_rate(name) and not _has_site_rates(name, hyperparameters)
    }
    return {**hyperparameters, **dict.fromkeys(drops_nothing, 0)}


def trial_tags(event: events.TrialStarted, search_id: str, parent_run_id: str) -> dict[str, str]:
    """The tags of a trial's run, from its beginning."""
    return {
        "mlflow.parentRunId": parent_run_id,
        "recdrop.kind": "trial",
        "recdrop.search_id": search_id,
        "recdrop.trial_id": event.trial_id,
        "recdrop.state": "RUNNING",
        **event.tags,
    }


def run_name(event: events.TrialStarted) -> str:
    """Names a trial's run by what it tries: MLflow's table shows little else at first."""
    shown = " ".join(
        " ".join([*([layer] if layer else []), *map(str, values.values())])
        for layer, values in asked(event.hyperparameters).items()
    )
    return f"{event.number:04d} {shown or event.trial_id}"


def model_points(event: events.ModelBuilt) -> list[Point]:
    """The size of a model, as a number that charts can use."""
    return [Point("n_params", event.parameters, 0, event.time)]


def model_tags(event: events.ModelBuilt) -> dict[str, str]:
    """What the recurrent layers of a model train on."""
    return {} if event.kernel is None else {"kernel": event.kernel}


def epoch_points(event: events.EpochEnded) -> list[Point]:
    """The metrics of an epoch, under Keras's names; those of further trainings bear their number.

    The time of a step is one number of the whole trial: charts would show the last epoch's instead.
    """
    prefix = f"execution{event.execution + 1}/" if event.execution else ""
    named = {f"{prefix}{k}": v for k, v in event.metrics.items() if k != MILLISECONDS}
    return _points(named, event.epoch, event.time)


def end_points(record: TrialRecord, when: float) -> list[Point]:
    """The numbers of a whole trial, under names that are the same in every search."""
    end = record.ended
    # Tables sort by `objective`: what a pruned trial had reached is no match for what others were trained to.
    name = "objective_at_prune" if record.state == events.PRUNED else "objective"
    numbers = {
        name: end.score if end else None,
        "objective_std": end.std if end else None,
        "best_epoch": record.best_epoch,
        "epochs_run": len(record.epochs),
        "train_seconds": record.seconds,
        MILLISECONDS: record.ms_per_step,
    }
    known = {name: value for name, value in numbers.items() if value is not None}
    return [*_points(known, 0, when), *_best_epoch_again(record, when)]


def _best_epoch_again(record: TrialRecord, when: float) -> list[Point]:
    """The metrics of the best epoch once more, as one further step, unless they are the last ones anyway.

    MLflow's pages show the last value of a metric, which would be that of another epoch than the trial's
    score. MLflow's own logging of Keras does the same where `EarlyStopping` restores the best weights.
    """
    if record.ended is None or not record.epochs:
        return []
    last = record.epochs[-1]
    best = {name: v for name, v in record.ended.metrics.items() if name != MILLISECONDS}
    if all(last.metrics.get(name) == value for name, value in best.items()):
        return []
    return _points(best, last.epoch + 1, when)


def best_tags(event: events.ResultSaved) -> dict[str, Any]:
    """The best configuration, as tags: of a search that goes on it may change."""
    return {f"best.{name}": value for name, value in event.best.items()}


def result_points(event: events.ResultSaved) -> list[Point]:
    """The numbers of a whole search."""
    return _points(event.metrics, 0, event.time)


def confirmation_points(event: events.ConfirmationEnded) -> list[Point]:
    """The metrics of a training of the confirmation; none of one that failed."""
    if event.score is None:
        return []
    name = "confirmed_twin" if event.twin else "confirmed"
    metrics = {f"{name}/{metric}": value for metric, value in event.metrics.items()}
    return _points({**metrics, name: event.score}, event.repeat, event.time)


def best_points(records: Iterable[TrialRecord], search: events.SearchStarted) -> list[Point]:
    """The best score so far, over the trials, in the order of their ends."""
    ended = [(record.ended, record.number) for record in records if record.ended]
    better = min if search.direction == "min" else max
    points: list[Point] = []
    best: float | None = None
    for end, number in sorted(ended, key=lambda each: each[0].time):
        if end.status == events.COMPLETE and end.score is not None:
            best = end.score if best is None else better(best, end.score)
            points.append(Point(f"best_{search.objective}", best, number, end.time))
    return points


def _is_rate(name: str) -> bool:
    # `rate`, or one for each site: `encoder/rate.input`.
    return name.rpartition("/")[2].partition(".")[0] == "rate"


def _has_site_rates(name: str, hyperparameters: Mapping[str, Any]) -> bool:
    return any(other.startswith(f"{name}.") for other in hyperparameters)


def _points(values: Mapping[str, float], step: int, when: float) -> list[Point]:
    return [Point(name, float(value), step, when) for name, value in values.items()]
