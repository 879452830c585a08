"""Writes the files of trials anew that are damaged or gone, from the journal of the search.

Keras Tuner's files are the store of the trials. The journal tells of each what it was, of every epoch, and
how it ended. Neither needs the other, so either is enough to go on with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras_tuner as kt

from recdrop_tune.events import COMPLETE, FAILED, PRUNED
from recdrop_tune.files import JOURNAL, trial_folder, write_atomically
from recdrop_tune.journal import Journal
from recdrop_tune.oracle import LOST, read_object, read_trial, say, set_aside
from recdrop_tune.records import Records, TrialRecord
from recdrop_tune.spaces import plain_names

_STATUSES = {COMPLETE: "COMPLETED", PRUNED: "STOPPED", FAILED: "FAILED"}


def repair_trials(
    folder: Path, goals: Sequence[kt.Objective], space: Callable[[], kt.HyperParameters]
) -> None:
    """Writes the file of each trial anew that the journal knows and that is damaged, missing or wrong.

    A file is wrong where it does not know of the end of the trial, or has a score that its own epochs and the
    journal contradict. A damaged file is kept beside the new one. A warning tells of each.

    Args:
        folder: The project folder.
        goals: The objectives.
        space: Returns the search space; called where no file has it.

    Raises:
        ProjectError: The journal names a trial by a path that leads elsewhere.
    """
    whole: list[Any] = []
    missing: list[TrialRecord] = []
    for id, record in Records(Journal(folder / JOURNAL).read()).trials.items():
        trial = read_trial(trial_folder(folder, id, JOURNAL) / "trial.json")
        if trial is None or _is_wrong(trial, record, goals[0].name):
            missing.append(record)
        else:
            whole.append(trial)
    if not missing:
        return
    known = _space(folder, whole) or space()
    for record in missing:
        path = trial_folder(folder, record.trial_id, JOURNAL) / "trial.json"
        what, kept = "was damaged or missing", ""
        old = read_trial(path)
        if old is not None and old.status == "RUNNING":  # Its last writing failed.
            what = "did not know of the end of its trial"
        elif path.exists():
            kept = f" The damaged one is kept as `{set_aside(path)}`."
        path.parent.mkdir(parents=True, exist_ok=True)
        trial = trial_of(record, known, goals)
        write_atomically(path, json.dumps(trial.get_state()), durable=True)
        say(f"`{path}` {what}; it was written anew from `{JOURNAL}`.{kept}")


def _is_wrong(trial: Any, record: TrialRecord, objective: str) -> bool:
    if record.ended is None or record.ended.status not in _STATUSES:
        return False
    if trial.status == "FAILED" and trial.message == LOST:
        return record.ended.status != FAILED
    if trial.status != "COMPLETED" or record.ended.score is None:
        return bool(trial.status == "RUNNING")
    own = _value(trial, objective, trial.best_step)
    scores = (own, record.ended.score)
    return None not in scores and not any(_is_close(abs(trial.score), score) for score in scores)


def trial_of(record: TrialRecord, space: kt.HyperParameters, goals: Sequence[kt.Objective]) -> Any:
    """Makes the trial of Keras Tuner's of which events tell.

    Args:
        record: What the events say.
        space: The search space.
        goals: The objectives.

    Returns:
        A `keras_tuner.engine.trial.Trial`. Where it has not ended, its training begins anew.
    """
    hyperparameters = space.copy()
    hyperparameters.values = record.values or _values(record, space)
    status = _STATUSES.get(record.state, "RUNNING")
    trial = kt.engine.trial.Trial(hyperparameters, trial_id=record.trial_id, status=status)
    if record.ended is None or status == "RUNNING":
        return trial
    trial.message = record.ended.message
    for epoch in (*record.epochs, *record.repeats):
        if all(goal.has_value(epoch.metrics) for goal in goals):
            _report(trial, epoch.metrics, goals, epoch.epoch)
    score, step = record.ended.score, record.best_epoch
    if score is None or step is None:
        return trial
    if _value(trial, goals[0].name, step) != score:
        # A hypermodel that returns a number reports no epochs; and of several trainings those that ended
        # early have counted with their best epoch.
        for name, history in trial.metrics.metrics.items():
            kept = [each for each in history.get_history() if each.step != step]
            trial.metrics.metrics[name] = type(history)(history.direction)
            trial.metrics.metrics[name].set_history(kept)
        _report(trial, {**record.ended.metrics, goals[0].name: score}, goals, step)
    if status == "COMPLETED":
        flipped = len(goals) > 1 and goals[0].direction == "max"
        trial.score, trial.best_step = -score if flipped else score, step
    return trial


def _report(
    trial: Any, metrics: dict[str, float], goals: Sequence[kt.Objective], step: int
) -> None:
    directions = {goal.name: goal.direction for goal in goals}
    for name, value in metrics.items():
        if not math.isfinite(value):
            continue
        if not trial.metrics.exists(name):
            trial.metrics.register(name, direction=directions.get(name))
        trial.metrics.update(name, value, step=step)


def _is_close(one: float, other: float | None) -> bool:
    return other is not None and math.isclose(one, abs(other), rel_tol=1e-9, abs_tol=1e-12)


def _value(trial: Any, name: str, step: int) -> float | None:
    history = trial.metrics.get_history(name) if trial.metrics.exists(name) else []
    return next((float(each.mean()) for each in history if each.step == step), None)


def _values(record: TrialRecord, space: kt.HyperParameters) -> dict[str, Any]:
    """Finds Keras Tuner's names for values that tables show; older journals have no others."""
    values: dict[str, Any] = {}
    for hp in space.space:
        (name,) = plain_names({hp.name: None})
        value = record.hyperparameters.get(name)
        if value is not None and all(each.is_active(values) for each in hp.conditions):
            values[hp.name] = value
    return values


def _space(folder: Path, trials: Iterable[Any]) -> kt.HyperParameters | None:
    """Returns the space that a whole file of the search has."""
    state = read_object(folder / "oracle.json") or {}
    try:
        space = kt.HyperParameters.from_config(state["hyperparameters"])
    except (ValueError, TypeError, LookupError, AttributeError):
        space = None
    if space is not None and space.space:
        return space
    return next((t.hyperparameters for t in trials if t.hyperparameters.space), None)
