"""Temporary folders that do not outlive their process for long, even if it is killed."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from pathlib import Path
from typing import Self

try:
    import fcntl
except ImportError:  # On Windows, the folders of killed processes stay.
    fcntl = None  # type: ignore[assignment]

IN_USE = ".in-use"
"""File in a scratch folder that is locked while its process lives. The system releases the lock."""


class ScratchFolder:
    """A folder that is removed at the end of a block; if its process is killed, by the next one.

    Unlike a `tempfile.TemporaryDirectory`, it is not removed while the interpreter shuts down, when a thread
    might still be writing to it.

    Args:
        prefix: The beginning of its name. Abandoned folders with that prefix are removed first.
        parent: Where to create it; by default the system's folder for temporary files.

    Attributes:
        path: The folder.
        lock: Descriptor of the locked file; `None` where the file system has no locks.

    Example:
        >>> with ScratchFolder("recdrop-worker-") as folder:
        ...     (folder.path / "weights").write_bytes(b"")
    """

    def __init__(self, prefix: str, parent: Path | None = None) -> None:
        parent = Path(tempfile.gettempdir()) if parent is None else parent
        remove_abandoned(prefix, parent)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        self.lock: int | None = None
        if fcntl is not None:
            # The file gets its name only once it is locked, or another process could take it for abandoned.
            fresh = self.path / f"{IN_USE}-new"
            handle = os.open(fresh, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(handle, str(os.getpid()).encode())  # To find the process.
                fresh.rename(self.path / IN_USE)
                self.lock = handle
            except OSError:
                os.close(handle)

    def remove(self) -> None:
        """Removes the folder and its contents."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Removes the folder."""
        self.remove()


def remove_abandoned(prefix: str, parent: Path) -> None:
    """Removes the scratch folders of dead processes.

    Args:
        prefix: The beginning of their names. Folders without the file `IN_USE` are somebody else's.
        parent: The folder that contains them.
    """
    if fcntl is None:
        return
    for mark in parent.glob(f"{glob.escape(prefix)}*/{IN_USE}"):
        with contextlib.suppress(OSError), mark.open("rb") as file:  # In use, or another user's.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(mark.parent, ignore_errors=True)
