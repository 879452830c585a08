"""Folders that live as long as their process: the next process removes what a killed one has left."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

try:
    import fcntl
except ImportError:  # Not on Windows, where what a killed process leaves stays.
    fcntl = None  # type: ignore[assignment]

IN_USE = ".in-use"
"""File in a scratch folder, locked while its process lives; the system ends the lock in any case."""

_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class ScratchFolder:
    """A folder that is removed at the end of a block, or after the death of its process.

    Unlike a `tempfile.TemporaryDirectory` it is not removed when the interpreter ends, so that a thread can
    finish there.

    Args:
        prefix: The beginning of its name. Folders of that name whose process has died are removed first;
            those without the file `IN_USE` are not ours.
        parent: Where it is made; by default the system's folder for temporary files.

    Attributes:
        path: The folder.
        lock: Descriptor of the locked file. A process that inherits it keeps the folder in use. `None` where
            there are no locks.

    Example:
        >>> with ScratchFolder("recdrop-worker-") as folder:
        ...     (folder.path / "weights").write_bytes(b"")
    """

    def __init__(self, prefix: str, parent: Path | None = None) -> None:
        place = Path(tempfile.gettempdir()) if parent is None else parent
        remove_abandoned(prefix, place)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        self.lock = _mark(self.path)

    def remove(self) -> None:
        """Removes the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None

    def __enter__(self) -> Self:
        """Returns itself, to be removed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Removes the folder."""
        self.remove()


def remove_abandoned(prefix: str, parent: Path, unmarked: float | None = None) -> None:
    """Removes the scratch folders whose process has died, on this machine and as this user.

    Args:
        prefix: The beginning of their names.
        parent: The folder above them.
        unmarked: Seconds since its last change after which a folder without the file `IN_USE` is removed
            too; `None` for never.
    """
    for folder in _folders(prefix, parent):
        with contextlib.suppress(OSError):  # Somebody else has removed it.
            if (folder / IN_USE).exists():
                _remove_if_abandoned(folder)
            elif unmarked is not None and time.time() - folder.stat().st_mtime > unmarked:
                shutil.rmtree(folder, ignore_errors=True)


def _mark(folder: Path) -> int | None:
    """Puts the locked file into the folder under its name only once it is locked."""
    if fcntl is None:
        return None
    fresh = folder / f"{IN_USE}-new"
    file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(file, f"{os.getpid()} {socket.gethostname()}".encode())
        os.replace(fresh, folder / IN_USE)
    except OSError:  # A file system without locks.
        os.close(file)
        return None
    return file


def _folders(prefix: str, parent: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            ours = entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False)
            if ours and (not hasattr(os, "getuid") or entry.stat().st_uid == os.getuid()):
                yield Path(entry.path)


def _remove_if_abandoned(folder: Path) -> None:
    if fcntl is None:
        return
    file = os.open(folder / IN_USE, _READ)
    try:
        # On a file system that several machines share, a lock may be visible on its own machine alone.
        here = os.read(file, 300).decode(errors="replace").partition(" ")[2]
        if here == socket.gethostname():
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(file)
