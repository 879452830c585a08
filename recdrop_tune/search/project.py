"""The project folder of a search: which search it belongs to, and whether another one may use it."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from recdrop_tune.errors import InvalidArgumentError, ProjectError, shown
from recdrop_tune.files import JOURNAL as EVENTS
from recdrop_tune.files import (
    SEARCH,
    delete_leftovers,
    is_leftover,
    write_atomically,
)
from recdrop_tune.journal import Journal, lock_alone
from recdrop_tune.kernels import check_seed
from recdrop_tune.oracle import say, set_aside
from recdrop_tune.search.fingerprint import (
    Fingerprint,
    Newcomer,
    compare,
    read_identity,
    read_journal,
)

FILE = SEARCH
"""Name of the file that makes a folder the folder of a search."""

ASIDE, GONE = "overwritten", "deleted"
"""Folders in the project folder for a search that is overwritten: before the new one begins, and after."""

PATIENCE = 10.0
"""Seconds to wait for the end of another search in the folder: the workers of a killed one take some."""


@dataclass(frozen=True)
class Identity:
    """Which search a folder belongs to.

    Attributes:
        id: Its id.
        seed: Its seed, drawn where none was given: a trial and its twin are to begin with the same weights.
            `None` in folders of earlier versions, which drew none.
    """

    id: str
    seed: int | None

    @classmethod
    def new(cls, seed: int | None) -> Identity:
        """Returns the identity of a search that begins."""
        # From Python's own state, so that a script that has seeded it searches the same each time.
        return cls(uuid.uuid4().hex, random.randrange(2**31) if seed is None else seed)

    @classmethod
    def held(cls, id: str, seed: int | None, written: Any) -> Identity:
        """Returns that of one that goes on, with the seed that is written where none is given."""
        with suppress(InvalidArgumentError):  # It is damaged.
            seed = check_seed(written) if seed is None else seed
        return cls(id, seed)


@contextmanager
def claimed(
    folder: Path,
    fingerprint: Fingerprint,
    newcomer: Newcomer,
    overwrite: bool = False,
    *,
    until: ExitStack,
) -> Iterator[Identity]:
    """Makes the folder of a search, checks that the search may use it, and writes which one it is.

    What is in the folder stays, unless `overwrite` says otherwise. If the block raises, the folder is as it
    was before.

    Args:
        folder: The project folder, there or not.
        fingerprint: The search.
        newcomer: What it may take over from another one that is there.
        overwrite: Whether to delete the search that is in the folder.
        until: Closed at the end of the search: until then no other search may use the folder.

    Yields:
        Which search it is: a new one, or the same one begun earlier.

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
        identity = _claim(folder, fingerprint, newcomer, overwrite)
        if overwrite and (folder / FILE).exists():
            _put_aside(folder)
        yield identity
        write(folder, identity.id, replace(fingerprint, seed=identity.seed))
    except BaseException:
        if (folder / ASIDE).exists():
            _take_back(folder)
        for path in new_folders:
            with suppress(OSError):  # Not empty: somebody else has written to it.
                path.rmdir()
        raise
    shutil.rmtree(folder / GONE, ignore_errors=True)
    if (folder / ASIDE).exists():
        # At once, so that nobody takes the half of it back.
        (folder / ASIDE).rename(folder / GONE)
        shutil.rmtree(folder / GONE, ignore_errors=True)


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
    if not left and not os.path.lexists(folder / FILE) and read_journal(folder) is None:
        raise ProjectError(
            f"The folder `{folder}` holds files but no search of recdrop-tune ({FILE}). Nothing was "
            "changed. Give an empty or a new folder as `directory`."
        )


def _claim(folder: Path, fingerprint: Fingerprint, newcomer: Newcomer, overwrite: bool) -> Identity:
    if overwrite:
        return Identity.new(fingerprint.seed)
    wanted, held = asdict(fingerprint), read_identity(folder / FILE)
    if held is not None:
        compare(folder, held["fingerprint"], wanted, newcomer)
        return Identity.held(str(held["id"]), fingerprint.seed, held["fingerprint"].get("seed"))
    found = read_journal(folder)
    if found is not None:
        known = found["fingerprint"]
        compare(folder, known, {name: wanted[name] for name in known}, newcomer)
        kept = f" It is kept as `{set_aside(folder / FILE)}`." if (folder / FILE).exists() else ""
        say(f"`{folder / FILE}` was damaged or missing; it was written anew from `{EVENTS}`.{kept}")
        return Identity.held(str(found["id"]), fingerprint.seed, known["seed"])
    if not (folder / FILE).exists():
        return Identity.new(fingerprint.seed)
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
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(exist_ok=True)
    for path in sorted(folder.iterdir(), key=lambda path: path.name == FILE):
        if path.name not in (ASIDE, GONE):
            path.rename(aside / path.name)


def _take_back(folder: Path) -> None:
    for path in (folder / ASIDE).iterdir():
        path.rename(folder / path.name)
    (folder / ASIDE).rmdir()


def write(folder: Path, search_id: str, fingerprint: Fingerprint) -> None:
    """Writes which search a folder belongs to, whole or not at all."""
    data = {"format": 1, "id": search_id, "fingerprint": asdict(fingerprint)}
    write_atomically(folder / FILE, json.dumps(data, indent=2) + "\n", durable=True)
