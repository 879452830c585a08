"""Lets one process at a time write the runs of a search to MLflow, so that none is created twice."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from recdrop_tune.errors import ProjectError

try:
    import fcntl
except ImportError:  # On Windows, processes are not kept apart.
    fcntl = None  # type: ignore[assignment]

LOCK = "mlflow.lock"
"""File in the project folder that the writing process locks. It stays: the system releases the lock."""

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_POLL_SECONDS = 0.1


@contextlib.contextmanager
def writing_alone(folder: str | Path, patience: float) -> Iterator[bool]:
    """Keeps other processes and threads from writing the runs of a search.

    Args:
        folder: The project folder. If it is read-only and has no lock file, the folder itself is locked.
        patience: Seconds to wait for another writer.

    Yields:
        Whether this is the only writer; `False` if that is unknown, because the file system has no locks.

    Raises:
        ProjectError: Another process is writing.

    Example:
        >>> with writing_alone("recdrop_runs/speech", patience=10.0) as alone:
        ...     alone
        True
    """
    file = None if fcntl is None else _open(Path(folder))
    if file is None:
        yield False
        return
    end, is_locked = time.monotonic() + patience, True
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise ProjectError(
                        "Another process, a search or `recdrop-tune sync`, is writing the runs of the search "
                        f"in `{folder}` to MLflow. Wait for it to end."
                    ) from None
                time.sleep(_POLL_SECONDS)
            except OSError:  # The file system has no locks.
                is_locked = False
                break
        yield is_locked
    finally:
        os.close(file)


def _open(folder: Path) -> int | None:
    path = folder / LOCK
    for place, how in ((path, os.O_RDWR | os.O_CREAT), (path, os.O_RDONLY), (folder, os.O_RDONLY)):
        try:
            return os.open(place, how, 0o666)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in _READ_ONLY:
                return None
    return None
