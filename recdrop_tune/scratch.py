"""Temporary folders that do not outlive their process for long, even if it is killed."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from recdrop_tune.files import lock

IN_USE = ".in-use"
"""File in a scratch folder that is locked while its process lives. The system releases the lock."""


@contextlib.contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Yields a folder that is removed at the end of the block; if its process is killed, by the next one.

    Abandoned folders with the same `prefix` are removed first.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    remove_abandoned(prefix, parent)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    # The file gets its name only once it is locked, or another process could take it for abandoned.
    fresh = folder / f"{IN_USE}-new"
    try:
        with fresh.open("wb", buffering=0) as file:
            if lock(file):
                file.write(str(os.getpid()).encode())  # To find the process.
                fresh.rename(folder / IN_USE)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(prefix: str, parent: Path) -> None:
    """Removes the scratch folders of dead processes; those without the file `IN_USE` are somebody else's."""
    for mark in parent.glob(f"{glob.escape(prefix)}*/{IN_USE}"):
        with contextlib.suppress(OSError), mark.open("rb") as file:  # It can be another user's.
            if lock(file):
                shutil.rmtree(mark.parent, ignore_errors=True)
