"""Brings MLflow to what the events of a search say, whatever it has of them already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recdrop_tune import events
from recdrop_tune.events import Records
from recdrop_tune.mlflow_store import contents as contents
from recdrop_tune.mlflow_store.attempts import Attempt, Log, milliseconds
from recdrop_tune.mlflow_store.runs import LACKING, Point, Runs
from recdrop_tune.mlflow_store.search_runs import SearchRuns
from recdrop_tune.mlflow_store.uris import clean

Progress = Callable[[int, int], None]
"""Is told how many runs of trials are there now, and of how many."""


@dataclass(frozen=True)
class Written:
    """What came of writing a whole search.

    Attributes:
        runs: How many runs of trials were written, or brought to their end.
        there: How many were there, whole.
    """

    runs: int
    there: int


def catch_up(
    api: Runs, log: Log, folder: Path, done: set[tuple[str, int]], progress: Progress
) -> tuple[SearchRuns, Written]:
    """Writes what MLflow lacks of a search.

    Runs are told by the tags of search and trial and by their beginning. The end is the last that is
    written to a run, so one that has it is whole, and every other one is written from its beginning.

    Args:
        api: The runs of the experiment.
        log: All events of the search.
        folder: The project folder.
        done: The attempts whose runs were written by an earlier call that failed; it grows with each.
        progress: Is told of each attempt: how many are there now, of how many.

    Returns:
        The runs, in which its next events can be written; and what was done.
    """
    known = api.find(f"tags.`recdrop.search_id` = '{log.first.search_id}'")
    kinds = [(run, run.data.tags.get("recdrop.kind")) for run in known]
    parent = _keep_one(api, [run for run, kind in kinds if kind == "search"])
    parent_id, records = _parent_id(api, parent, log), Records(log.events)
    runs = SearchRuns(api, log.last, parent_id, {}, records, folder)
    found = _by_attempt(api, [run for run, kind in kinds if kind != "search"])
    for number, attempt in enumerate(log.attempts, 1):
        if _bring(runs, attempt, found.get(attempt.key)):
            done.add(attempt.key)
        progress(number, len(log.attempts))
    _take_in_lost(runs, log, found)
    runs.under_way = {each.started.trial_id for each in log.attempts if each.end is None}
    if log.ended is None or not _has_ended(parent, log.ended.status, log.ended.time):
        _write_search(runs, log, parent)
    return runs, Written(len(done), len(log.attempts) - len(done))


def _parent_id(api: Runs, parent: Any, log: Log) -> str:
    if parent is not None:
        return str(parent.info.run_id)
    return api.create(log.first.name, contents.search_tags(log.first), log.first.time)


def _bring(runs: SearchRuns, attempt: Attempt, run: Any) -> bool:
    """Writes an attempt at a trial, unless its run is whole; returns whether it was written."""
    tags = runs.tags(attempt.started) | {"recdrop.state": attempt.state}
    for event in attempt.events:
        if isinstance(event, events.ModelBuilt):
            tags |= contents.model_tags(event)
    if attempt.superseded:
        tags["recdrop.kind"] = "superseded"
    run_id = str(run.info.run_id) if run is not None else runs.create(attempt.started, tags)
    held = run.data.tags if run is not None else tags
    changed = {name: value for name, value in tags.items() if held.get(name) != value}
    whole = attempt.end is not None and _has_ended(run, *attempt.end)
    if not whole:
        _write_attempt(runs, attempt, run_id, run, changed)
    elif changed:
        runs.api.write(run_id, tags=changed)
    if not attempt.superseded:
        runs.run_ids[attempt.started.trial_id] = run_id
    return not whole


def _take_in_lost(runs: SearchRuns, log: Log, found: Mapping[tuple[str, int], Any]) -> None:
    """Takes in the runs of attempts that the journal has lost, so that another attempt supersedes them."""
    client, known = runs.api.client, {attempt.key for attempt in log.attempts}
    for (trial_id, _), run in sorted(found.items()):
        if (trial_id, int(run.info.start_time)) in known:
            continue
        run_id = str(run.info.run_id)
        if run.info.status == "RUNNING":
            client.set_terminated(run_id, "KILLED")
        if trial_id in {started for started, _ in known}:
            client.set_tag(run_id, "recdrop.kind", "superseded")
        else:
            runs.run_ids[trial_id] = run_id


def _write_attempt(
    runs: SearchRuns, attempt: Attempt, run_id: str, run: Any, tags: Mapping[str, str]
) -> None:
    """Writes all that there is of an attempt at once, and then its end.

    Parameters that are there stay: MLflow does not let one change.
    """
    _forget_lacking(runs.api, run)
    held = run.data.params if run is not None else ()
    params = contents.trial_params(attempt.started.hyperparameters)
    points: list[Point] = []
    for event in attempt.events:
        match event:
            case events.ModelBuilt():
                points += contents.model_points(event)
            case events.EpochEnded():
                points += contents.epoch_points(event)
    record, end = attempt.record, attempt.end
    if record.ended is not None:
        points += contents.end_points(record, record.ended.time)
    fresh = {name: value for name, value in params.items() if clean(name) not in held}
    runs.api.write(run_id, fresh, points, tags)
    if record.ended is not None:
        runs.end_trial(run_id, record)
    elif end is not None:
        runs.api.end(run_id, *end)
    elif run is not None and run.info.status != "RUNNING":
        runs.api.reopen(run_id)


def _write_search(runs: SearchRuns, log: Log, parent: Any) -> None:
    """Writes the search's own run, and the confirmations."""
    run_id = runs.parent_run_id
    _forget_lacking(runs.api, parent)
    params = contents.search_params(log.last)
    # Those that are there stay: MLflow does not let a parameter change.
    held = parent.data.params if parent is not None else {}
    fresh = {name: value for name, value in params.items() if clean(name) not in held}
    points = contents.best_points(runs.records.trials.values(), log.last)
    runs.api.write(run_id, fresh, points)
    if log.last.space is not None:
        runs.api.text(run_id, log.last.space, "space.yaml")
    runs.api.inputs(run_id, log.last.data)
    runs.confirm(log.confirmations)
    if log.result is not None:
        runs.save(log.result)
    if log.ended is not None:
        runs.end_search(log.ended)
    else:
        runs.api.reopen(run_id)


def _forget_lacking(api: Runs, run: Any) -> None:
    """Before a run is written again, which will tell whether it lacks something still."""
    if run is not None and LACKING in run.data.tags:
        api.client.delete_tag(run.info.run_id, LACKING)


def _by_attempt(api: Runs, runs: list[Any]) -> dict[tuple[str, int], Any]:
    """Returns the run of each attempt; a second one is deleted."""
    found: dict[tuple[str, int], list[Any]] = {}
    for run in runs:
        key = (run.data.tags.get("recdrop.trial_id", ""), int(run.info.start_time))
        found.setdefault(key, []).append(run)
    return {key: _keep_one(api, same) for key, same in found.items()}


def _keep_one(api: Runs, runs: list[Any]) -> Any:
    """Keeps one of several runs of the same: a request that seems to fail may come through later."""
    if not runs:
        return None
    kept = max(runs, key=lambda run: (run.info.status != "RUNNING", len(run.data.metrics)))
    for run in runs:
        if run is not kept:
            api.client.delete_run(run.info.run_id)
    return kept


def _has_ended(run: Any, status: str, when: float) -> bool:
    """Says whether a run has an end, and this one."""
    return (
        run is not None
        and LACKING not in run.data.tags
        and run.info.status == status
        and run.info.end_time is not None
        and int(run.info.end_time) == milliseconds(when)
    )
