"""Reads a search from its project folder, without the script that ran it and without its code."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path

import keras_tuner as kt
import pandas as pd

from recdrop_tune.errors import ProjectError, RecdropError, format_repr
from recdrop_tune.events import Configuration
from recdrop_tune.files import (
    CODE,
    JOURNAL,
    MODEL,
    MODEL_CARD,
    RESULT,
    check_folder,
    inside,
    trial_folder,
)
from recdrop_tune.hyperparameters import without_dropout
from recdrop_tune.journal import Journal
from recdrop_tune.records import Records

CONFIRMED = "confirmed"
"""The subfolder of a project for the weights of confirmed configurations."""


def read_search(directory: Path, reader: str = "TuneResult") -> Records:
    """Reads the journal of a search that has ended, was interrupted or is running, for the class `reader`."""
    check_folder(directory)
    try:
        is_running = Journal(directory / JOURNAL).is_being_written()
        records = read_records(directory)
    except OSError as error:
        raise ProjectError(f"`{directory / JOURNAL}` cannot be read: {error}.") from error
    if not is_running:
        records.lose_running()
    kind, known = "a search by `tune`", "TuneResult"
    if records.models:
        kind, known = "a comparison of models", "ModelComparison"
    if reader != known:
        raise ProjectError(f"`{directory}` holds {kind}. Read it with `rdt.{known}.load`.")
    return records


def read_records(directory: Path, oracle: kt.Oracle | None = None) -> Records:
    """Reads the journal of a search, and compares it with the other files of the folder and the `oracle`."""
    path = directory / JOURNAL
    # Before the journal: a search that runs meanwhile would save more than the journal had.
    saved = _number_saved(directory)
    weights = {folder.name for folder in (directory / CONFIRMED).glob("trial_*")}
    records = Records(Journal(path).read())
    if oracle is not None:
        _compare(path, records, oracle)
    elif records.search is None:
        raise ProjectError(
            f"`{directory}` holds no search: there is no `{JOURNAL}` with the start of one. Give the "
            "folder that was printed when the search started, by default one in `recdrop_runs`."
        )
    seeds = max((each.seeds for each in records.rounds), default=0)
    asked = {Configuration.named(name) for each in records.rounds for name in each.configurations}
    for name in sorted(each.name for each in asked if not _has(records, each)):
        raise _damaged(
            path, f"it confirms the trial {format_repr(name)}, which the search does not have"
        )
    for each in records.confirmations:
        is_asked = each.configuration in asked and each.repeat < seeds
        if not is_asked or (each.score is None) == (each.message is None):
            name = format_repr(each.configuration.name)
            about = f"{name} with repeat={each.repeat} and score={each.score}"
            raise _damaged(path, f"no round of the confirmation has the training of {about}")
    known = {each.key for each in records.confirmations if each.score is not None}
    if saved > len(known):
        raise _damaged(path, "it lacks trainings of the confirmation")
    # Weights are written before their event, so after a kill each worker can have left some without one.
    unnamed = weights - {f"trial_{name}" for name, _ in known}
    if len(unnamed) > (records.workers if records.rounds else 0):
        raise _damaged(path, "it lacks trainings of the confirmation, which have left weights")
    return records


def _compare(path: Path, records: Records, oracle: kt.Oracle) -> None:
    """Compares the trials of a journal with those of the oracle that resumes its search."""
    for trial_id in records.trials.keys() - oracle.trials.keys():
        # A `keras_tuner.Tuner` that was killed in its first trial begins anew, with another id.
        if not (trial_folder(path.parent, trial_id, JOURNAL) / "trial.json").exists():
            raise _damaged(path, f"the search does not have its trial {format_repr(trial_id)}")
    if records.search is None and oracle.end_order:
        raise _damaged(path, "it is lost, or the trials in its folder were not tracked")
    # A trial that was killed before the journal had its start runs again.
    for trial_id in oracle.end_order:
        if trial_id not in records.trials:
            raise _damaged(path, f"it lacks the trial {format_repr(trial_id)}, which has ended")


def _has(records: Records, configuration: Configuration) -> bool:
    """Returns whether a model, or the trials of a configuration, exist; and have a twin if it is one."""
    trial_id, is_twin, dropout_of = configuration
    if records.models:
        return configuration.name in records.models
    if not {trial_id, dropout_of or trial_id} <= records.trials.keys():
        return False
    return (
        not is_twin or without_dropout(records.space, records.trials[trial_id].active) is not None
    )


def _damaged(path: Path, what: str) -> ProjectError:
    advice = "Nothing was changed. Restore the file, or give another `directory`."
    return ProjectError(f"`{path}` is damaged: {what}. {advice}")


def _number_saved(directory: Path) -> int:
    """Returns the number of confirmed trainings in the saved result."""
    for name in ("confirmation.csv", "models.csv"):
        # It does not exist yet, or is damaged.
        with suppress(OSError, ValueError, TypeError, LookupError):
            table = (directory / RESULT / name).read_bytes()
            return int(pd.read_csv(io.BytesIO(table))["n"].sum())
    return 0


def saved_trial(directory: Path) -> str | None:
    """Returns the trial of the model that was saved with the result, if its card exists and is whole."""
    card = inside(directory, f"{RESULT}/{MODEL_CARD}", RESULT)
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(card.read_bytes())["trial_id"])
    return None


def saved_file(directory: Path, trial_id: str, name: str) -> Path:
    """Returns the saved model, or its code, if it belongs to the trial: the search can have resumed."""
    what = {MODEL: "model", CODE: "source"}[name]
    path = inside(directory, f"{RESULT}/{name}", RESULT)
    saved = saved_trial(directory) if path.exists() else None
    if saved != trial_id:
        known = "no" if saved is None else f"that of trial {saved}, and no"
        raise RecdropError(
            f"The result in {directory} holds {known} {what} of trial {trial_id}. Run `tune` again with the "
            f'same arguments and directory="{directory}": it trains nothing twice, and saves the {what} of '
            "the best trial."
        )
    return path
