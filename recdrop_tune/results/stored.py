"""Reads a search from its project folder, without the script that ran it and without its code.

All of it is JSON: the journal, and what Keras Tuner keeps of its oracle and of each trial.
"""

from __future__ import annotations

import io
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
import pandas as pd
from keras_tuner.engine.trial import TrialStatus

from recdrop_tune.errors import ProjectError, RecdropError, plain, shown
from recdrop_tune.events import Configuration, SearchStarted
from recdrop_tune.files import JOURNAL, SEARCH, check_folder, check_trial_ids, inside, trial_folder
from recdrop_tune.journal import Journal
from recdrop_tune.mlflow_store import CODE, MODEL, MODEL_CARD, RESULT
from recdrop_tune.oracle import (
    damage_named,
    settled,
    state_of,
    trial_from_state,
    twin_of,
    unnoted,
)
from recdrop_tune.records import Records
from recdrop_tune.states import TrialState

CONFIRMED = "confirmed"
"""The subfolder of a project for the weights of confirmed configurations."""

_ORACLE = "oracle.json"
"""Keras Tuner's name for the file of an oracle."""

_KNOWN = {"Boolean", "Choice", "Fixed", "Float", "Int", "Parent"}
"""The kinds of hyperparameters and conditions. No other class is made from a file."""

_ADVICE = f"The files in its `{RESULT}` are still good."


@dataclass(frozen=True)
class StoredSearch:
    """A search, as stored in its project folder. In a loaded result it replaces the tuner.

    Attributes:
        project_dir: The folder.
        oracle: A plain `keras_tuner.Oracle` with the trials, which proposes nothing.
        records: The records of the journal.
        last: The search as it last started or resumed.
        by_tune: Whether `tune` ran it.
    """

    project_dir: str
    oracle: Any
    records: Records
    last: SearchStarted
    by_tune: bool

    def saved_model(self, trial_id: str) -> Any:
        """Loads the model that was saved with the result; a `RecdropError` unless it is that of the trial."""
        path = self._file_of(trial_id, MODEL, "model")
        return keras.models.load_model(path, safe_mode=True)

    def saved_code(self, trial_id: str) -> str:
        """Reads the code that was saved with the best model; see `saved_model`."""
        path = self._file_of(trial_id, CODE, "source")
        with damage_named(path, _ADVICE):
            return plain(path.read_text(encoding="utf-8"))

    def _file_of(self, trial_id: str, name: str, what: str) -> Path:
        """Returns a saved file of the best model, if it belongs to the trial: the search can have resumed."""
        path, card = (
            inside(self.project_dir, f"{RESULT}/{each}", RESULT) for each in (name, MODEL_CARD)
        )
        saved = None
        # It does not exist, or is damaged.
        with suppress(OSError, ValueError, KeyError, TypeError):
            saved = str(json.loads(card.read_bytes())["trial_id"]) if path.exists() else None
        if saved != trial_id:
            found = "no" if saved is None else f"that of trial {saved}, and no"
            raise RecdropError(
                f"The result in {self.project_dir} holds {found} {what} of trial {trial_id}. Run `tune` "
                f'again with the same arguments and directory="{self.project_dir}": it trains nothing twice, '
                f"and saves the {what} of the best trial."
            )
        return path


def stored_search(directory: Path) -> StoredSearch:
    """Reads a search that has ended, was interrupted or is running.

    Args:
        directory: The project folder.

    Raises:
        ProjectError: The folder holds no search, a link that leads out, or a damaged file.
    """
    check_folder(directory)
    with damage_named(directory / JOURNAL, _ADVICE):
        records = Records(Journal(directory / JOURNAL).read())
    last = records.search
    if last is None:
        raise ProjectError(
            f"`{directory}` holds no search: there is no `{JOURNAL}` with the start of one. Give the "
            "folder that was printed when the search started, by default one in `recdrop_runs`."
        )
    objective = kt.Objective(last.objective, last.direction)
    # Without a seed Keras Tuner draws one from Python's generator.
    oracle = kt.Oracle(objective, last.max_trials, seed=1)
    # The first trial creates the file.
    if records.trials or (directory / _ORACLE).exists():
        try:
            _fill(oracle, directory)
        except ProjectError:  # Keras Tuner's own oracles write in place: the search can be running.
            time.sleep(0.2)
            _fill(oracle, directory)
    check_journal(directory, records, oracle)
    return StoredSearch(str(directory), oracle, records, last, (directory / SEARCH).exists())


def check_journal(directory: Path, records: Records, oracle: Any) -> None:
    """Raises a `ProjectError` if a journal has trainings that the search cannot have, or lacks some."""
    path = directory / JOURNAL
    for trial_id in records.trials.keys() - oracle.trials.keys():
        # A `keras_tuner.Tuner` that was killed in its first trial begins anew, with another id.
        if not (trial_folder(directory, trial_id, JOURNAL) / "trial.json").exists():
            raise _damaged(path, f"the search does not have its trial {shown(trial_id)}")
    seeds = max((each.seeds for each in records.rounds), default=0)
    asked = {Configuration.named(name) for each in records.rounds for name in each.configurations}
    for name in sorted(each.name for each in asked if not _has(oracle, each)):
        raise _damaged(path, f"it confirms the trial {shown(name)}, which the search does not have")
    known = set()
    for each in records.confirmations:
        is_asked = each.configuration in asked and each.repeat < seeds
        if not is_asked or (each.score is None) == (each.message is None):
            name = shown(each.configuration.name)
            about = f"{name} with repeat={each.repeat} and score={each.score}"
            raise _damaged(path, f"no round of the confirmation has the training of {about}")
        if each.score is not None:
            known.add((each.configuration.name, each.repeat))
    if _number_saved(directory) > len(known):
        raise _damaged(path, "it lacks trainings of the confirmation")
    # Weights are written before the event: of a search that was killed, each worker's can lack one.
    info = records.search.info if records.search and records.rounds else {"workers": 0}
    workers = info.get("workers", 1)
    unnamed = {each.name for each in (directory / CONFIRMED).glob("trial_*")}
    unnamed -= {f"trial_{name}" for name, _ in known}
    if len(unnamed) > (workers if isinstance(workers, int) else 1):
        raise _damaged(path, "it lacks trainings of the confirmation, which have left weights")


def _has(oracle: Any, configuration: Configuration) -> bool:
    """Returns whether the trials of a configuration exist, and have a twin if it is one."""
    trial_id, is_twin, dropout_of = configuration
    if not {trial_id, dropout_of or trial_id} <= oracle.trials.keys():
        return False
    return not is_twin or twin_of(oracle.trials[trial_id].hyperparameters) is not None


def _damaged(path: Path, what: str) -> ProjectError:
    advice = "Nothing was changed. Restore the file, or give another `directory`."
    return ProjectError(f"`{path}` is damaged: {what}. {advice}")


def _number_saved(directory: Path) -> int:
    """Returns the number of confirmed trainings in the saved result."""
    # It does not exist yet, or is damaged.
    with suppress(OSError, ValueError, TypeError, LookupError):
        table = (directory / RESULT / "confirmation.csv").read_bytes()
        return int(pd.read_csv(io.BytesIO(table))["n"].sum())
    return 0


def _fill(oracle: Any, directory: Path) -> None:
    """Fills an oracle with the saved trials."""
    path, trials = directory / _ORACLE, {}
    with damage_named(path, _ADVICE):
        state = _read(path)
        noted = {trial_folder(directory, each, _ORACLE) for each in state["start_order"]}
    files = {each / "trial.json" for each in noted}.union(directory.glob("trial_*/trial.json"))
    for file in sorted(files):
        with damage_named(file, _ADVICE):
            trial = trial_from_state(_read(file), file)
        trials[trial.trial_id] = trial
    check_trial_ids(directory, trials)
    with damage_named(path, _ADVICE):
        for trial_id in unnoted(state, trials):
            del trials[trial_id]
        for trial in trials.values():
            # Its score does not compare with those of complete trials.
            if state_of(trial, state.get("max_epochs")) == TrialState.PRUNED:
                trial.status = TrialStatus.STOPPED
        order = settled(state, trials)["start_order"]
        oracle.hyperparameters = kt.HyperParameters.from_config(state["hyperparameters"])
    oracle.trials, oracle.start_order = trials, order


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes(), object_hook=_of_known_kind)


def _of_known_kind(data: dict[str, Any]) -> dict[str, Any]:
    kind = data.get("class_name", "Int")
    if kind not in _KNOWN:
        raise ValueError(f"`{kind}` is not a kind of hyperparameter")
    return data
