"""One process at a time writes the runs of a search to MLflow, so that none is created twice."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from recdrop_tune.errors import ProjectError

try:
    import fcntl
except ImportError:  # Not on Windows, where two processes are not kept apart.
    fcntl = None  # type: ignore[assignment]

LOCK = "mlflow.lock"
"""File in the project folder: the process that writes to MLflow locks it, and writes its number into it.

It stays there: the system takes the lock back when the process ends, however it ends.
"""

_OURS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_THEIRS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_POLL_SECONDS = 0.1


@contextlib.contextmanager
def writing_alone(folder: str | Path, patience: float) -> Iterator[bool]:
    """Keeps other processes from writing the runs of a search, and other threads too.

    In a folder that is read-only, without the file, the folder itself is locked.

    Args:
        folder: The project folder.
        patience: Seconds to wait for another one that is writing.

    Yields:
        Whether nobody else writes; `False` where that cannot be known, for the file system has no locks.

    Raises:
        ProjectError: Somebody else is writing.

    Example:
        >>> with writing_alone("recdrop_runs/speech", patience=10.0) as alone:
        ...     alone
        True
    """
    file = _opened(Path(folder))
    if file is None:
        yield False
        return
    try:
        alone = _lock(file, Path(folder), time.monotonic() + patience)
        if alone:
            with contextlib.suppress(OSError):  # Read-only.
                _sign(file)
        yield alone
    finally:
        os.close(file)


def _opened(folder: Path) -> int | None:
    if fcntl is None:
        return None
    path = folder / LOCK
    for place, how in ((path, _OURS), (path, _THEIRS), (folder, _THEIRS)):
        try:
            return os.open(place, how, 0o666)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in _READ_ONLY:
                return None
    return None


def _sign(file: int) -> None:
    """Writes who has locked the file, unless it is another file of somebody's, under this name."""
    if os.fstat(file).st_nlink > 1:
        return  # It has a second name, under which it would change too.
    held = os.pread(file, 200, 0)
    if not held or held.startswith(b"process "):
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def _lock(file: int, folder: Path, end: float) -> bool:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                raise ProjectError(
                    f"{_holder(folder)} is writing the runs of the search in `{folder}` to MLflow: a "
                    "search, or `recdrop-tune sync`. Nothing was written here. Wait for its end."
                ) from None
            time.sleep(_POLL_SECONDS)
        except OSError:  # A file system without locks.
            return False


def _holder(folder: Path) -> str:
    with contextlib.suppress(OSError):
        said = (folder / LOCK).read_bytes()[:200].decode(errors="replace").strip()
        if said.startswith("process ") and said.isprintable():
            return said.capitalize()
    return "Another process"
