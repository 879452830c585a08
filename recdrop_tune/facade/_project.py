"""The project folder of a search: what it was made for, and whether it can be used again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recdrop_tune.errors import ProjectError, shown
from recdrop_tune.oracle import write_atomically
from recdrop_tune.tracking import FILE as EVENTS
from recdrop_tune.tracking import Journal
from recdrop_tune.tracking._journal import lock_alone

FILE = "search.json"
"""Name of the file that makes a folder the folder of a search."""

ASIDE, GONE = "overwritten", "deleted"
"""Where in the folder a search lies that is to be deleted: until the new one is sure to begin, and then."""

PATIENCE = 10.0
"""Seconds that the end of another search in the folder is waited for: a killed one's workers take some."""


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


def named(goals: Sequence[Any]) -> dict[str, Any]:
    """Writes objectives as a fingerprint holds them: names and directions."""
    return {
        "objective": ",".join(goal.name for goal in goals),
        "direction": ",".join(goal.direction for goal in goals),
    }


@contextmanager
def claimed(
    folder: Path, fingerprint: Fingerprint, overwrite: bool = False, *, until: ExitStack
) -> Iterator[str]:
    """Makes the folder of a search, checks that the search may use it, and writes what it is for.

    What is in the folder stays, unless `overwrite` says otherwise; if the block raises, that stays too, and
    nothing is left of what was made here.

    Args:
        folder: The project folder, there or not.
        fingerprint: The search.
        overwrite: Whether to delete the search that is in the folder.
        until: What is closed at the end of the search: until then no other search may use the folder.

    Yields:
        The id of the search: a new one, or that of the same search begun earlier.

    Raises:
        ProjectError: The folder holds another search, or one that is running, or something else, or
            cannot be written to.
    """
    made = _make_writable(folder)
    until.enter_context(_alone(folder))
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
        for path in made:
            with suppress(OSError):  # Not empty: somebody else has written to it.
                path.rmdir()
        raise
    shutil.rmtree(folder / GONE, ignore_errors=True)
    if (folder / ASIDE).exists():
        os.replace(
            folder / ASIDE, folder / GONE
        )  # At once, so that nobody takes the half of it back.
        shutil.rmtree(folder / GONE, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other searches out of a folder; waits a little for one that is there.

    What is locked is the folder, as soon as a search looks at it. Its journal is locked too, by whoever
    writes it: of a search that was killed its workers may be alive for some seconds.
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


def _claim(folder: Path, fingerprint: Fingerprint, overwrite: bool) -> str:
    # A search that was killed while it wrote its first file, or deleted another one, has left these.
    if all(path.name in (f"{FILE}.tmp", ASIDE, GONE) for path in folder.iterdir()):
        return uuid.uuid4().hex
    if not (folder / FILE).exists():
        raise ProjectError(
            f"The folder `{folder}` holds files but no search of recdrop-tune ({FILE}). Nothing was "
            "changed. Give an empty or a new folder as `directory`."
        )
    if overwrite:
        return uuid.uuid4().hex
    held = _read(folder / FILE)
    _compare(folder, held["fingerprint"], asdict(fingerprint))
    return str(held["id"])


def _make_writable(folder: Path) -> list[Path]:
    """Makes a folder if need be; returns what was made, the innermost first."""
    try:
        if folder.exists() and not folder.is_dir():
            raise ProjectError(f"`{folder}` is a file. Give a folder as `directory`.")
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        # Permissions alone do not tell: a file system can be mounted for reading only.
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:  # A NUL in a path is a ValueError.
        raise ProjectError(
            f"The folder `{shown(str(folder))[1:-1]}` cannot be written to: {error}. Give another "
            "`directory`."
        ) from error
    return made


def _put_aside(folder: Path) -> None:
    """Moves what is in a folder out of the way, the file last by which it is known as a search's."""
    aside = folder / ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for path in sorted(folder.iterdir(), key=lambda path: path.name == FILE):
        if path.name not in (ASIDE, GONE):
            os.replace(path, aside / path.name)


def _take_back(folder: Path) -> None:
    for path in (folder / ASIDE).iterdir():
        os.replace(path, folder / path.name)
    (folder / ASIDE).rmdir()


def write(folder: Path, search_id: str, fingerprint: Fingerprint) -> None:
    """Writes what a folder is for, whole or not at all."""
    data = {"format": 1, "id": search_id, "fingerprint": asdict(fingerprint)}
    write_atomically(folder / FILE, json.dumps(data, indent=2) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(held["fingerprint"], dict) and held["id"]:
            return dict(held)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    raise ProjectError(
        f"`{path}` is damaged, so what search it belongs to is unknown. Give another `directory`, "
        "or delete the search with `overwrite=True`."
    )


def _compare(folder: Path, held: dict[str, Any], wanted: dict[str, Any]) -> None:
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
