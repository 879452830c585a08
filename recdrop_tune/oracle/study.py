"""The Optuna study of a search: made, loaded, and brought in line with Keras Tuner's trials."""

from __future__ import annotations

import json
import math
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
from optuna.trial import FrozenTrial, TrialState

from recdrop_tune.errors import ProjectError
from recdrop_tune.files import delete, open_file
from recdrop_tune.oracle.ask_tell import outcome
from recdrop_tune.oracle.conditions import distribution, is_active, is_fixed, to_drawn
from recdrop_tune.oracle.rebuilt import ENDED, say, set_aside
from recdrop_tune.oracle.samplers import make_sampler, quiet_optuna
from recdrop_tune.oracle.scores import curve, objectives, reached

# Brings an Optuna study into line with the trials of a search, from which all of it follows.
#
# The journal of the study is Optuna's, a line an operation: with one line damaged, all that come after it may
# be about other trials. So a journal that cannot be read, or says something else than the trials do, is put
# aside and written anew. In a storage of the user's own, trials that it lacks are added and nothing else is
# changed.

_ID = "keras_tuner_id"


def is_damaged(path: Path) -> bool:
    """Says whether a line of Optuna's journal is none."""
    for line in path.read_bytes().splitlines():
        try:
            if not isinstance(json.loads(line), dict):
                return True
        except (ValueError, RecursionError):
            return True
    return False


def correct_numbers(study: optuna.Study, oracle: Any, numbers: dict[str, int]) -> None:
    """Forgets the numbers that are another trial's in a study, and looks the right ones up.

    Args:
        study: The study.
        oracle: The oracle, with all trials.
        numbers: Optuna's number of each; is changed.
    """
    known = study.get_trials(deepcopy=False)
    by_id = {frozen.user_attrs.get(_ID): frozen.number for frozen in known}
    for id in oracle.trials:
        if not _is_of(known, numbers.get(id), id):
            numbers.pop(id, None)
            if id in by_id:
                numbers[id] = by_id[id]


def contradicts(study: optuna.Study, oracle: Any, numbers: Mapping[str, int]) -> bool:
    """Says whether a study has other values for a complete trial than the oracle.

    Args:
        study: The study.
        oracle: The oracle, with all trials.
        numbers: Optuna's number of each, the right ones.
    """
    known = study.get_trials(deepcopy=False)
    for id, number in numbers.items():
        told, trial = known[number], oracle.trials.get(id)
        if trial is None or trial.status != "COMPLETED" or told.state != TrialState.COMPLETE:
            continue  # One that is under way in the study is ended later, as the oracle says.
        values = outcome(trial, oracle.objective)["values"]
        if not all(map(_is_close, values, told.values)):
            return True
    return False


def add_missing(study: optuna.Study, oracle: Any, numbers: dict[str, int]) -> None:
    """Adds the finished trials that a study lacks.

    Args:
        study: The study.
        oracle: The oracle, with all trials.
        numbers: Optuna's number of each, the right ones; those of the trials that are added come to them.
    """
    for id, trial in oracle.trials.items():
        # Of a trial whose file was lost, nothing is known.
        if id not in numbers and trial.status in ENDED and trial.hyperparameters.values:
            study.add_trial(_frozen(trial, oracle))
            numbers[id] = len(study.get_trials(deepcopy=False)) - 1


def _is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9)


def _is_of(known: list[FrozenTrial], number: int | None, trial_id: str) -> bool:
    if not isinstance(number, int) or not 0 <= number < len(known):
        return False
    return bool(known[number].user_attrs.get(_ID) == trial_id)


def _frozen(trial: Any, oracle: Any) -> FrozenTrial:
    """Makes the trial of Optuna's that stands for one of Keras Tuner's."""
    values, goals = trial.hyperparameters.values, objectives(oracle.objective)
    asked = {
        hp.name: hp
        for hp in oracle.hyperparameters.space
        if not is_fixed(hp) and hp.name in values and is_active(hp, values)
    }
    epochs = dict(curve(trial, goals[0].name)) if len(goals) == 1 else {}
    ending = outcome(trial, oracle.objective)
    best = reached(trial, oracle.objective).value if trial.status == "STOPPED" else None
    if best is not None and epochs:  # What Optuna itself makes of a trial that is pruned.
        ending["value"] = epochs[max(epochs)]
    return optuna.trial.create_trial(
        state=ending.pop("state", TrialState.COMPLETE),
        params={name: to_drawn(hp, values[name]) for name, hp in asked.items()},
        distributions={name: distribution(hp) for name, hp in asked.items()},
        intermediate_values=epochs,
        user_attrs={_ID: trial.trial_id} | ({} if best is None else {"best_value": best}),
        **ending,
    )


# Opens the Optuna study of a search, a new one or the one that the search goes on with.

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
        study.sampler = make_sampler(oracle.sampler, oracle.seed, number)
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
