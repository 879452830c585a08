"""What MLflow's runs of a search hold, as plain values: names, tags, numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from recdrop_tune.tracking import _events as events
from recdrop_tune.tracking._records import TrialRecord, asked
from recdrop_tune.tracking._runs import Point

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


def search_params(search: events.SearchStarted) -> dict[str, Any]:
    """The parameters of the run of a search."""
    params = {name: getattr(search, name) for name in ("tuner", "objective", "direction")}
    return params | {"max_trials": search.max_trials, **search.info}


def trial_tags(event: events.TrialStarted, search_id: str, parent_run_id: str) -> dict[str, str]:
    """The tags of a trial's run, from its beginning."""
    return {
        "mlflow.parentRunId": parent_run_id,
        "recdrop.kind": "trial",
        "recdrop.search_id": search_id,
        "recdrop.trial_id": event.trial_id,
        "recdrop.state": "RUNNING",
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


def epoch_points(event: events.EpochEnded) -> list[Point]:
    """The metrics of an epoch, under Keras's names; those of further trainings bear their number."""
    prefix = f"execution{event.execution + 1}/" if event.execution else ""
    return _points({f"{prefix}{k}": v for k, v in event.metrics.items()}, event.epoch, event.time)


def end_points(record: TrialRecord, when: float) -> list[Point]:
    """The numbers of a whole trial, under names that are the same in every search."""
    score = record.ended.score if record.ended else None
    numbers = {
        "objective": score,
        "best_epoch": record.best_epoch,
        "epochs_run": len(record.epochs),
        "train_seconds": record.seconds,
    }
    return _points({k: v for k, v in numbers.items() if v is not None}, 0, when)


def confirmation_points(event: events.ConfirmationEnded) -> list[Point]:
    """The metrics of a training of the confirmation; none of one that failed."""
    if event.score is None:
        return []
    metrics = {f"confirmed/{name}": value for name, value in event.metrics.items()}
    return _points({**metrics, "confirmed": event.score}, event.repeat, event.time)


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


def _points(values: Mapping[str, float], step: int, when: float) -> list[Point]:
    return [Point(name, float(value), step, when) for name, value in values.items()]
