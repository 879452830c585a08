"""Keras Tuner's files of a search: the state of the oracle, and one file for each trial.

A trial is saved before the state that lists it. So a search that was killed between the two has a trial that
is missing in the state, or one that has ended although the state has it under way. `reconciled` mends that.
"""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import keras_tuner as kt
from keras_tuner.engine.trial import Trial, TrialStatus

from recdrop_tune.errors import ProjectError
from recdrop_tune.files import (
    RESTORE,
    check_trial_ids,
    damage_named,
    read_object,
    trial_folder,
    write_atomically,
)
from recdrop_tune.states import TrialState

END_STATUSES = (TrialStatus.COMPLETED, TrialStatus.FAILED, TrialStatus.STOPPED)
"""Keras Tuner's statuses of trials that have ended."""

_STATES = {
    TrialStatus.COMPLETED: TrialState.COMPLETE,
    TrialStatus.STOPPED: TrialState.PRUNED,
    TrialStatus.FAILED: TrialState.FAILED,
    TrialStatus.INVALID: TrialState.FAILED,  # Keras Tuner runs it again.
    TrialStatus.RUNNING: TrialState.RUNNING,
}


def state_of(trial: Trial, epochs: int | None = None) -> TrialState:
    """Returns the state of a Keras Tuner trial.

    `epochs` are those that Keras Tuner's Hyperband gives a whole training; None for other tuners. A trial of
    fewer epochs is pruned, because its score does not compare with those of whole ones.
    """
    state = _STATES[trial.status]
    trained = trial.hyperparameters.values.get("tuner/epochs", epochs)
    is_cut_short = epochs is not None and trained != epochs
    return TrialState.PRUNED if state == TrialState.COMPLETE and is_cut_short else state


def with_end(oracle: kt.Oracle, trial: Trial, status: str = TrialStatus.COMPLETED) -> Trial:
    """Returns a copy of the oracle's trial, with the end that `end_trial` was called with.

    Tuners for Keras Tuner 1.1 pass a trial's id and status, where `COMPLETE` stands for `COMPLETED`.
    """
    if isinstance(trial, str):
        end = copy.copy(oracle.get_trial(trial))
        end.status = TrialStatus.COMPLETED if status == TrialState.COMPLETE.name else status
        return end
    end = copy.copy(oracle.get_trial(trial.trial_id))
    for name in ("hyperparameters", "status", "message", "score", "best_step"):
        setattr(end, name, getattr(trial, name))
    return end


def read_trial(path: Path) -> Trial | None:
    """Reads the file `trial.json` of a Keras Tuner trial; returns None if there is no such file."""
    state = read_object(path)
    if state is None:
        return None
    with damage_named(path):
        return trial_from_state(state, path)


def trial_from_state(state: dict[str, Any], path: Path) -> Trial:
    """Makes a trial of the content of its file; raises for values that no search writes."""
    trial = Trial.from_state(state)
    if path.parent.name != f"trial_{trial.trial_id}":
        raise ValueError(f"it is the file of trial {trial.trial_id!r}")
    if trial.status not in (*END_STATUSES, TrialStatus.RUNNING, TrialStatus.INVALID):
        raise ValueError(f"{trial.status!r} is not a status")
    if trial.status == TrialStatus.COMPLETED:
        int(trial.best_step)
        if math.isnan(float(trial.score)):
            raise ValueError("its score is not a number")
    for history in trial.metrics.metrics.values():
        for epoch in history.get_history():
            float(epoch.mean()), float(epoch.step)
    return trial


def never_started(state: dict[str, Any], trials: dict[str, Trial]) -> list[str]:
    """Lists the trials that were killed before they were handed out.

    Keras Tuner saves a new trial, then the oracle's state, and only then hands the trial out. So a trial that
    is missing in the state has never run, and it is proposed again.
    """
    noted = set(state["start_order"])
    return [
        id for id, trial in trials.items() if id not in noted and trial.status not in END_STATUSES
    ]


def reconciled(state: dict[str, Any], trials: dict[str, Trial]) -> dict[str, Any]:
    """Brings an oracle's state, which was saved last, into line with its trials by id.

    Each trial that has not ended is then under way, or waits to run again. A state that lists a trial twice
    raises `ValueError`.
    """
    if len(set(state["start_order"])) < len(state["start_order"]):
        raise ValueError("a trial is listed twice")
    ended = {id for id, trial in trials.items() if trial.status in END_STATUSES}
    unfinished = set(trials) - ended
    ongoing = {tuner: id for tuner, id in state["ongoing_trials"].items() if id in unfinished}
    # A trial that is tried again is saved as under way and as waiting.
    waiting = [id for id in state["retry_queue"] if id in unfinished - set(ongoing.values())]
    lost = sorted(unfinished - set(ongoing.values()) - set(waiting))
    in_end_order = [id for id in state["end_order"] if id in ended or id not in trials]
    return {
        **state,
        "ongoing_trials": ongoing,
        "retry_queue": [*waiting, *lost],
        "start_order": [*state["start_order"], *sorted(set(trials) - set(state["start_order"]))],
        "end_order": [*in_end_order, *sorted(ended - set(in_end_order))],
    }


# `_save_trial`, `_get_oracle_fname`, `_get_trial_dir`, `_project_dir` and `_retry_queue` are Keras Tuner's,
# which has no public hooks for how its files are written and what runs again. A test fails if they go.


def save_state(oracle: kt.Oracle) -> None:
    """Writes the state of an oracle, all of it or nothing."""
    text = json.dumps(oracle.get_state())
    write_atomically(oracle._get_oracle_fname(), text, durable=True)


def save_trial(oracle: kt.Oracle, trial: Trial) -> None:
    """Writes the file of a trial, all of it or nothing.

    A trial that begins or ends survives a power cut. Epochs are not worth the wait for the disk: after a
    power cut their trial is trained anew.
    """
    path = Path(oracle._get_trial_dir(trial.trial_id)) / "trial.json"
    durable = trial.status in END_STATUSES or not path.exists()
    write_atomically(path, json.dumps(trial.get_state()), durable=durable)


def restore(oracle: kt.Oracle) -> None:
    """Restores an oracle from its files; changes nothing if one is damaged or missing."""
    path = Path(oracle._get_oracle_fname())
    # Read before the trials, as trials are written first: the search may be running elsewhere.
    state = read_object(path)
    if state is None:
        raise ProjectError(f"`{path}` is missing. {RESTORE}")
    found = (read_trial(file) for file in sorted(path.parent.glob("trial_*/trial.json")))
    trials = {trial.trial_id: trial for trial in found if trial is not None}
    check_trial_ids(path.parent, trials)
    with damage_named(path):
        for trial_id in state["start_order"]:
            if trial_id not in trials:
                missing = trial_folder(path.parent, trial_id, path.name) / "trial.json"
                raise ProjectError(f"`{missing}` is missing. {RESTORE}")
        lost = never_started(state, trials)
        oracle.trials = {id: trial for id, trial in trials.items() if id not in lost}
        oracle.set_state(reconciled(state, oracle.trials))
    for trial_id in lost:
        Path(oracle._get_trial_dir(trial_id), "trial.json").unlink(missing_ok=True)
    # What was under way runs again.
    oracle._retry_queue += [trial.trial_id for trial in oracle.ongoing_trials.values()]
    oracle.ongoing_trials = {}
