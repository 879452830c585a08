"""Reads a search from its project folder, without the script that ran it and without its code.

All of it is JSON: the journal, and what Keras Tuner keeps of its oracle and of each trial.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt

from recdrop_tune.errors import ProjectError, RecdropError, plain
from recdrop_tune.events import SearchStarted
from recdrop_tune.files import (
    JOURNAL,
    check_folder,
    check_trial_ids,
    inside,
    trial_folder,
)
from recdrop_tune.journal import Journal
from recdrop_tune.mlflow_store import CODE, MODEL, MODEL_CARD, RESULT
from recdrop_tune.oracle import settled, unnoted
from recdrop_tune.records import Records

_ORACLE = "oracle.json"
"""Keras Tuner's name for the file of an oracle."""

_KNOWN = {"Boolean", "Choice", "Fixed", "Float", "Int", "Parent"}
"""The kinds of hyperparameters and conditions. No other class is made from a file."""


@dataclass(frozen=True)
class StoredSearch:
    """A search, as stored in its project folder. In a loaded result it replaces the tuner.

    Attributes:
        project_dir: The folder.
        oracle: A plain `keras_tuner.Oracle` with the trials, which proposes nothing.
        records: The records of the journal.
        last: The search as it last started or resumed.
    """

    project_dir: str
    oracle: Any
    records: Records
    last: SearchStarted

    def saved_model(self, trial_id: str) -> Any:
        """Loads the model that was saved with the result.

        Args:
            trial_id: The trial that it must belong to.

        Raises:
            RecdropError: It is missing, or belongs to another trial because the search has resumed since.
        """
        path = Path(self.project_dir, RESULT, MODEL)
        self._check_trial(path, trial_id, "model")
        return keras.models.load_model(path, safe_mode=True)

    def saved_code(self, trial_id: str) -> str:
        """Reads the code that was saved with the best model.

        Args:
            trial_id: The trial that it must belong to.

        Raises:
            RecdropError: It is missing, or belongs to another trial because the search has resumed since.
        """
        path = inside(self.project_dir, f"{RESULT}/{CODE}", RESULT)
        self._check_trial(path, trial_id, "source")
        with _whole(path):
            return plain(path.read_text(encoding="utf-8"))

    def _check_trial(self, path: Path, trial_id: str, what: str) -> None:
        """Raises if the saved model or its source is missing, or belongs to another trial."""
        card = inside(self.project_dir, f"{RESULT}/{MODEL_CARD}", RESULT)
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


def stored_search(directory: Path) -> StoredSearch:
    """Reads a search that has ended, was interrupted or is running.

    Args:
        directory: The project folder.

    Raises:
        ProjectError: The folder holds no search, a link that leads out, or a damaged file.
    """
    if not directory.is_dir():
        raise ProjectError(f"There is no folder `{directory}`.")
    check_folder(directory)
    with _whole(directory / JOURNAL):
        records = Records(Journal(directory / JOURNAL).read())
    last = records.search
    if last is None:
        raise ProjectError(
            f"`{directory}` holds no search: there is no `{JOURNAL}` with the start of one. Give the "
            "folder that was printed when the search started, by default one in `recdrop_runs`."
        )
    goals = last.objectives or {last.objective: last.direction}
    goal = [kt.Objective(name, direction) for name, direction in goals.items()]
    # Without a seed Keras Tuner draws one from Python's generator.
    oracle = kt.Oracle(goal if len(goal) > 1 else goal[0], last.max_trials, seed=1)
    # Before the first trial there is no file yet.
    if records.trials or os.path.lexists(directory / _ORACLE):
        _fill(oracle, directory)
    return StoredSearch(str(directory), oracle, records, last)


def _fill(oracle: Any, directory: Path) -> None:
    """Fills an oracle with the saved trials."""
    state, trials = _read(directory / _ORACLE), {}
    with _whole(directory / _ORACLE):
        folders = [trial_folder(directory, id, _ORACLE) for id in state["start_order"]]
    known = {folder / "trial.json" for folder in folders}
    for file in sorted(known.union(directory.glob("trial_*/trial.json"))):
        saved = _read(file)
        with _whole(file):
            trial = kt.engine.trial.Trial.from_state(saved)
        trials[trial.trial_id] = trial
    check_trial_ids(directory, trials)
    with _whole(directory / _ORACLE):
        for trial_id in unnoted(state, trials):
            del trials[trial_id]
        order = settled(state, trials)["start_order"]
        oracle.hyperparameters = kt.HyperParameters.from_config(state["hyperparameters"])
    oracle.trials, oracle.start_order = trials, order


def _read(path: Path) -> Any:
    """Reads a file of a search that can be running: Keras Tuner's own oracles write in place."""
    with _whole(path):
        try:
            data = json.loads(path.read_bytes())
        except ValueError:
            time.sleep(0.2)
            data = json.loads(path.read_bytes())
    for name in _class_names(data):
        if name not in _KNOWN:
            raise _damaged(path, f"`{name}` is not a kind of hyperparameter")
    return data


def _class_names(data: Any) -> Iterator[Any]:
    if isinstance(data, dict):
        if "class_name" in data:
            yield data["class_name"] if isinstance(data["class_name"], str) else repr(data)
        for value in data.values():
            yield from _class_names(value)
    elif isinstance(data, list):
        for value in data:
            yield from _class_names(value)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Converts read errors in the block to a `ProjectError` that names the file."""
    kinds = (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError)
    try:
        yield
    except kinds as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _damaged(path: Path, what: str) -> ProjectError:
    return ProjectError(
        f"`{path}` is damaged, or not a file of a search: {what}. The files in its `{RESULT}` are still good."
    )
