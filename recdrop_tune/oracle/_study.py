"""Opens the Optuna study of a search, a new one or the one that the search goes on with."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from recdrop_tune.errors import ProjectError
from recdrop_tune.files import delete, open_file
from recdrop_tune.oracle._ask_tell import outcome
from recdrop_tune.oracle._samplers import make_sampler, quiet_optuna, spread_seed
from recdrop_tune.oracle._scores import objectives
from recdrop_tune.oracle.rebuilt import ENDED, say, set_aside
from recdrop_tune.oracle.study_repair import (
    add_missing,
    contradicts,
    correct_numbers,
    is_damaged,
)

# Optuna holds the lock of its journal for milliseconds; one as old as this belongs to a dead process.
_LOCK_SECONDS = 2.0

_ATTRIBUTES = ("system_attr", "system_attrs")  # In Optuna's journal, of one and of a whole trial.
_STATE = re.compile(r"\boptimizer\b")
_LEFT_OUT = "left out"


def open_study(oracle: Any, numbers: dict[str, int]) -> optuna.Study:
    """Opens the study of an `OptunaOracle`, and adds what it lacks of the oracle's finished trials.

    Args:
        oracle: The oracle.
        numbers: Optuna's number of each of its trials; corrected where it is another trial's.

    Raises:
        ProjectError: The storage holds a study of that name from another search.
    """
    folder = Path(oracle._project_dir)  # Keras Tuner has no public name for it.
    name = oracle.study_name or folder.name
    study = _load_whole(oracle, folder, name, numbers)
    number = len(study.get_trials(deepcopy=False))
    if number and not oracle.trials and not (folder / "oracle.json").exists():
        raise ProjectError(
            f"The storage already holds a study named `{name}` of another search, with "
            f"{number} trials. Give another `study_name` or another storage."
        )
    if not isinstance(oracle.sampler, BaseSampler):
        study.sampler = make_sampler(oracle.sampler, spread_seed(oracle.seed, number))
    with quiet_optuna():
        correct_numbers(study, oracle, numbers)
        add_missing(study, oracle, numbers)
        _settle(study, oracle, numbers)
    return study


def _load_whole(oracle: Any, folder: Path, name: str, numbers: dict[str, int]) -> optuna.Study:
    """Loads the study; puts a journal in the project folder aside that cannot be read, or is wrong."""
    if oracle.storage is not None:
        return _load(oracle, folder, name)
    path = folder / "optuna.journal"
    there = path.exists()
    if not there and any(trial.status in ENDED for trial in oracle.trials.values()):
        say(f"`{path}` was missing; it was written anew from the trials.")
    if not there or not is_damaged(Path(mended_journal(folder))):
        try:
            study = _load(oracle, folder, name)
            correct_numbers(study, oracle, numbers)
            if not contradicts(study, oracle, numbers):
                return study
        except OSError:
            raise
        except Exception:  # Whatever Optuna raises over lines that do not belong together.
            if not there:
                raise
    kept = set_aside(path)
    say(f"`{path}` was damaged; it is kept as `{kept}`, and was written anew from the trials.")
    return _load(oracle, folder, name)


def _load(oracle: Any, folder: Path, name: str) -> optuna.Study:
    storage = oracle.storage
    if storage is None:
        storage = JournalStorage(HarmlessJournal(mended_journal(folder)))
    with quiet_optuna():
        return optuna.create_study(
            storage=storage,
            study_name=name,
            load_if_exists=True,
            directions=[
                "maximize" if each.direction == "max" else "minimize"
                for each in objectives(oracle.objective)
            ],
            sampler=oracle.sampler if isinstance(oracle.sampler, BaseSampler) else None,
            pruner=oracle.pruner,
        )


def mended_journal(folder: Path) -> str:
    """Returns the path of a folder's journal, with what a killed process may have left put right.

    That is a lock, for which Optuna would wait half a minute, and half a line at the end, which Optuna
    would refuse to read.

    Args:
        folder: The project folder. No other process may be writing to its journal.

    Raises:
        ProjectError: The journal is a link, or its lock is a folder.
    """
    # Absolute: Optuna's lock is a link to the journal, and one that leads nowhere is never given up.
    path = Path(os.path.abspath(folder)) / "optuna.journal"
    _break_lock(path.with_name(f"{path.name}.lock"))
    with open_file(path, "a+b") as file:
        file.seek(0)
        whole = file.read()
        if not whole.endswith(b"\n"):
            file.truncate(whole.rfind(b"\n") + 1)
    return str(path)


class HarmlessJournal(JournalFileBackend):
    """A journal of Optuna's from a folder that may be somebody else's: nothing in it reaches `pickle`.

    Optuna's CMA-ES keeps its state, pickled, among the attributes of trials, and unpickles the last one to go
    on: whoever wrote it would have any code run. So the states in lines that were there before this process
    are left out. CMA-ES then begins with none, and makes up for it from the trials, one generation a trial:
    the state depends on nothing else.

    Args:
        path: The file. No other process may be writing to it.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        with open_file(path) as file:
            self._others = sum(1 for _ in file)

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Reads the lines from a number on; see `optuna.storages.journal.BaseJournalBackend`."""
        for number, entry in enumerate(super().read_logs(log_number_from), start=log_number_from):
            yield _without_states(entry) if number < self._others else entry


def _without_states(entry: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what samplers keep of themselves: `cma:optimizer:0`, `sepcma:optimizer:1`."""
    # A line without any attribute is none to Optuna.
    return {
        name: {_LEFT_OUT if _STATE.search(key) else key: kept for key, kept in value.items()}
        if name in _ATTRIBUTES and isinstance(value, dict)
        else value
        for name, value in entry.items()
    }


def _break_lock(lock: Path) -> None:
    seen, since = None, time.monotonic()
    while os.path.lexists(lock):
        try:
            found = os.lstat(lock).st_mtime_ns
        except FileNotFoundError:
            return
        if found != seen:
            seen, since = found, time.monotonic()
        if time.monotonic() - since > _LOCK_SECONDS:
            delete(lock)
        time.sleep(0.05)


def _settle(study: optuna.Study, oracle: Any, numbers: Mapping[str, int]) -> None:
    """Ends Optuna trials which a crash left under way, as Keras Tuner's trials have ended."""
    trials = {number: oracle.trials.get(id) for id, number in numbers.items()}
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        trial = trials.get(left.number)
        ending = {"state": TrialState.FAIL} if trial is None else outcome(trial, oracle.objective)
        study.tell(left.number, **ending)
