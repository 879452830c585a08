"""The project folder of a search: which search it belongs to, and whether another one may use it."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recdrop_tune.errors import ProjectError, shown
from recdrop_tune.events import FILE as EVENTS
from recdrop_tune.events import SEARCH, Journal, SearchStarted, lock_alone
from recdrop_tune.files import (
    delete_leftovers,
    delete_tree,
    is_leftover,
    make_folder,
    move,
    write_atomically,
)
from recdrop_tune.oracle import read_object, say, set_aside
from recdrop_tune.paths import check_kind

FILE = SEARCH
"""Name of the file that makes a folder the folder of a search."""

ASIDE, GONE = "overwritten", "deleted"
"""Folders in the project folder for a search that is overwritten: before the new one begins, and after."""

# The tuners of `tune` by what their events call them.
_TUNERS = {
    "OptunaOracle": "optuna",
    "RandomSearchOracle": "random",
    "BayesianOptimizationOracle": "bayesian",
    "HyperbandTuner": "hyperband",
    "GridSearchOracle": "grid",
}

PATIENCE = 10.0
"""Seconds to wait for the end of another search in the folder: the workers of a killed one take some."""


@dataclass(frozen=True)
class Fingerprint:
    """What makes two searches the same one. `max_trials` is no part of it: a search can go on.

    Attributes:
        space: The search space as YAML, or the name of the hypermodel that defines it.
        objective: Name of the objective; several are joined by commas.
        direction: `"min"` or `"max"`, of each.
        tuner: Name of the tuner.
        epochs: Epochs of one trial.
        batch_size: Size of a batch.
        seed: Seed of the search.
        executions: Trainings of each trial.
        cv: Folds of cross-validation, in words.
        model: What is the same in all models of the search, as far as it is known.
        class_weight: Weights of the classes, in words.
        early_stopping: After how many epochs without a gain a training ends.
    """

    space: str
    objective: str
    direction: str
    tuner: str
    epochs: int
    batch_size: int
    seed: int | None
    executions: int = 1
    cv: str | None = None
    model: str | None = None
    class_weight: str | None = None
    early_stopping: int | None = None


@contextmanager
def claimed(
    folder: Path, fingerprint: Fingerprint, overwrite: bool = False, *, until: ExitStack
) -> Iterator[str]:
    """Makes the folder of a search, checks that the search may use it, and writes which one it is.

    What is in the folder stays, unless `overwrite` says otherwise. If the block raises, the folder is as it
    was before.

    Args:
        folder: The project folder, there or not.
        fingerprint: The search.
        overwrite: Whether to delete the search that is in the folder.
        until: Closed at the end of the search: until then no other search may use the folder.

    Yields:
        The id of the search: a new one, or that of the same search begun earlier.

    Raises:
        ProjectError: The folder holds another search, or one that is running, or something else, or a link,
            or cannot be written to.
    """
    new_folders = _make_writable(folder)
    until.enter_context(_alone(folder))
    _check_is_ours(folder)
    delete_leftovers(folder)
    try:
        if (folder / ASIDE).exists() and (folder / FILE).exists():
            _take_back(folder)  # Somebody was killed while putting it aside.
        search_id = _claim(folder, fingerprint, overwrite)
        if overwrite and (folder / FILE).exists():
            _put_aside(folder)
        yield search_id
        write(folder, search_id, fingerprint)
    except BaseException:
        if (folder / ASIDE).exists():
            _take_back(folder)
        for path in new_folders:
            with suppress(OSError):  # Not empty: somebody else has written to it.
                path.rmdir()
        raise
    delete_tree(folder / GONE)
    if (folder / ASIDE).exists():
        # At once, so that nobody takes the half of it back.
        move(folder / ASIDE, folder / GONE, within=folder)
        delete_tree(folder / GONE)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other searches out of a folder; waits a little for one that is there.

    A search locks the folder as soon as it looks at it, and the process that writes the journal locks that
    too: the workers of a search that was killed may live on for some seconds.
    """
    journal, end = Journal(folder / EVENTS), time.monotonic() + PATIENCE
    # Windows opens no folders; there two searches in one folder are not kept apart.
    handle = None if os.name == "nt" else os.open(folder, os.O_RDONLY)
    try:
        while (handle is not None and not lock_alone(handle)) or _is_being_written(journal):
            if time.monotonic() > end:
                raise ProjectError(
                    f"In the folder `{folder}` a search is running. Nothing was changed. Wait for its end, "
                    "or give another `directory`."
                )
            time.sleep(0.1)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _is_being_written(journal: Journal) -> bool:
    try:
        return journal.is_being_written(to_write=True)
    except OSError as error:  # It is somebody else's, or no file.
        raise ProjectError(
            f"`{journal.path}` cannot be written to: {error}. Give another `directory`."
        ) from error


def _check_is_ours(folder: Path) -> None:
    """Raises if a folder holds somebody's files and no search."""
    # A search that was killed while it wrote its first file, or deleted another one, has left these.
    left = all(path.name in (ASIDE, GONE) or is_leftover(path.name) for path in folder.iterdir())
    if not left and not os.path.lexists(folder / FILE) and _from_journal(folder) is None:
        raise ProjectError(
            f"The folder `{folder}` holds files but no search of recdrop-tune ({FILE}). Nothing was "
            "changed. Give an empty or a new folder as `directory`."
        )


def _claim(folder: Path, fingerprint: Fingerprint, overwrite: bool) -> str:
    if overwrite:
        return uuid.uuid4().hex
    wanted, held = asdict(fingerprint), _read(folder / FILE)
    if held is not None:
        _compare(folder, held["fingerprint"], wanted)
        return str(held["id"])
    found = _from_journal(folder)
    if found is not None:
        known = found["fingerprint"]
        _compare(folder, known, {name: wanted[name] for name in known})
        kept = f" It is kept as `{set_aside(folder / FILE)}`." if (folder / FILE).exists() else ""
        say(f"`{folder / FILE}` was damaged or missing; it was written anew from `{EVENTS}`.{kept}")
        return str(found["id"])
    if not (folder / FILE).exists():
        return uuid.uuid4().hex
    raise ProjectError(
        f"`{folder / FILE}` is damaged, so what search it belongs to is unknown. Give another "
        "`directory`, or delete the search with `overwrite=True`."
    )


def _make_writable(folder: Path) -> list[Path]:
    """Makes a folder where there is none; returns the new folders, the innermost first."""
    try:
        if folder.exists() and not folder.is_dir():
            raise ProjectError(f"`{folder}` is a file. Give a folder as `directory`.")
        new = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        # Permissions alone do not tell: a file system can be mounted for reading only.
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:  # A NUL in a path is a ValueError.
        raise ProjectError(
            f"The folder `{shown(str(folder))[1:-1]}` cannot be written to: {error}. Give another "
            "`directory`."
        ) from error
    return new


def _put_aside(folder: Path) -> None:
    """Moves what is in a folder out of the way; last the file that makes it the folder of a search."""
    aside = folder / ASIDE
    delete_tree(aside)
    make_folder(aside)
    for path in sorted(folder.iterdir(), key=lambda path: path.name == FILE):
        if path.name not in (ASIDE, GONE):
            move(path, aside / path.name, within=folder)


def _take_back(folder: Path) -> None:
    check_kind(folder / ASIDE, stat.S_IFDIR)
    for path in (folder / ASIDE).iterdir():
        move(path, folder / path.name, within=folder)
    (folder / ASIDE).rmdir()


def write(folder: Path, search_id: str, fingerprint: Fingerprint) -> None:
    """Writes which search a folder belongs to, whole or not at all."""
    data = {"format": 1, "id": search_id, "fingerprint": asdict(fingerprint)}
    write_atomically(folder / FILE, json.dumps(data, indent=2) + "\n", durable=True)


def _read(path: Path) -> dict[str, Any] | None:
    """Reads which search a folder belongs to; `None` where the file is missing or damaged."""
    held = read_object(path) or {}
    return held if isinstance(held.get("fingerprint"), dict) and held.get("id") else None


def _from_journal(folder: Path) -> dict[str, Any] | None:
    """Finds the fingerprint of a search by `tune` in its journal, without executions, folds and model."""
    begun = [each for each in Journal(folder / EVENTS).read() if isinstance(each, SearchStarted)]
    if not begun or begun[-1].space is None or begun[-1].tuner not in _TUNERS:
        return None
    last = begun[-1]
    goals = last.objectives or {last.objective: last.direction}
    numbers = ("epochs", "batch_size", "seed")
    known: dict[str, Any] = {name: last.info[name] for name in numbers if name in last.info}
    if len(known) < len(numbers):
        return None
    known |= {"objective": ",".join(goals), "direction": ",".join(goals.values())}
    known |= {"space": last.space, "tuner": _TUNERS[last.tuner]}
    return {"id": begun[0].search_id, "fingerprint": known}


def _compare(folder: Path, held: dict[str, Any], wanted: dict[str, Any]) -> None:
    # Earlier versions do not say.
    held = {name: wanted.get(name) for name in ("model", "class_weight", "early_stopping")} | held
    differing = [name for name, value in wanted.items() if held.get(name) != value]
    if not differing:
        return
    lines = "\n".join(
        f"  {name}: {_short(held.get(name))} there, {_short(wanted[name])} now"
        for name in differing
    )
    raise ProjectError(
        f"The folder `{folder}` holds another search. It differs in:\n{lines}\n"
        "Nothing was changed. Give another `directory`, or delete the search there with "
        "`overwrite=True`."
    )


def _short(value: object) -> str:
    return repr(value.strip().replace("\n", "; ") if isinstance(value, str) else value)
