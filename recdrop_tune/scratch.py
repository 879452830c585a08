"""Temporary folders that do not outlive their process for long, even if it is killed."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # On Windows, the folders of killed processes stay.
    fcntl = None  # type: ignore[assignment]

IN_USE = ".in-use"
"""File in a scratch folder that is locked while its process lives. The system releases the lock."""


@contextlib.contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Yields a folder that is removed at the end of the block; if its process is killed, by the next one.

    Args:
        prefix: The beginning of its name. Abandoned folders with that prefix are removed first.
        parent: Where to create it; by default the system's folder for temporary files.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    remove_abandoned(prefix, parent)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    file = None
    if fcntl is not None:
        # The file gets its name only once it is locked, or another process could take it for abandoned.
        fresh = folder / f"{IN_USE}-new"
        file = fresh.open("wb", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(str(os.getpid()).encode())  # To find the process.
            fresh.rename(folder / IN_USE)
        except OSError:  # A file system without locks.
            file.close()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if file is not None:
            file.close()


def remove_abandoned(prefix: str, parent: Path) -> None:
    """Removes the scratch folders of dead processes; those without the file `IN_USE` are somebody else's."""
    if fcntl is None:
        return
    for mark in parent.glob(f"{glob.escape(prefix)}*/{IN_USE}"):
        with contextlib.suppress(OSError), mark.open("rb") as file:  # In use, or another user's.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(mark.parent, ignore_errors=True)
