"""Writes to a tracking store: alone, and again where a request fails."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import random
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from mlflow.exceptions import MlflowException

from recdrop_tune.errors import ProjectError
from recdrop_tune.paths import check_path

# Sends a request to MLflow again that a server was too busy for, a few times, each after a longer pause.

# Of its own: the thread that writes to MLflow would draw from Python's while a model draws its weights.
_CHANCE = random.Random()

_FIRST_PAUSE, _RETRIES = 0.25, 5
"""Seconds before the second try, twice as many before each further one: 8 seconds in all, with 5 retries.

Of a server that refuses 30 % of the requests one in 1,400 fails for good; half a minute, for an overloaded
server to recover, is what `Background` and `sync` wait.
"""

_BUSY = ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_transient(failure: BaseException) -> bool:
    """Says whether a request may succeed if it is sent again soon.

    A server was busy (429, 500, 502, 503, 504), a database locked, or a connection broke. A request without
    an answer in time is none of them: the next one would hang as long.
    """
    # MLflow raises its own error in the place of requests' and SQLAlchemy's.
    causes = list(_causes(failure))
    if any(isinstance(each, TimeoutError | requests.exceptions.Timeout) for each in causes):
        return False
    return any(map(_is_busy, causes)) and not any(map(_is_lasting, causes))


def _causes(failure: BaseException | None) -> Iterator[BaseException]:
    while failure is not None:
        yield failure
        failure = failure.__cause__ or failure.__context__


def _is_busy(failure: BaseException) -> bool:
    if isinstance(failure, requests.exceptions.RetryError | requests.exceptions.ConnectionError):
        return True
    if isinstance(failure, requests.exceptions.HTTPError) and failure.response is not None:
        return bool(failure.response.status_code == 429 or failure.response.status_code >= 500)
    if isinstance(failure, MlflowException) and failure.error_code in _BUSY:
        return True
    return _sqlite_code(failure) in _LOCKED


def _is_lasting(failure: BaseException) -> bool:
    """Says whether sqlite has failed otherwise than by a lock: MLflow calls all of it temporary."""
    return _sqlite_code(failure) not in (None, *_LOCKED)


def _sqlite_code(failure: BaseException) -> int | None:
    """Returns sqlite's code of an error of SQLAlchemy's, without its details."""
    code = getattr(getattr(failure, "orig", None), "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def pauses() -> Iterator[float]:
    """Yields how many seconds to wait before each further try.

    At random by half, so that processes that failed together do not come back together.
    """
    for number in range(_RETRIES):
        yield _FIRST_PAUSE * 2**number * _CHANCE.uniform(0.5, 1.0)


class PersistentClient:
    """MLflow's client, whose requests are sent again while a server is busy.

    Those that create something are not: the first may have come through. See `Runs.create`.

    Args:
        client: A `mlflow.tracking.MlflowClient`.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found) or name.startswith("create_"):
            return found

        @functools.wraps(found)
        def sent(*args: Any, **kwargs: Any) -> Any:
            for pause in pauses():
                try:
                    return found(*args, **kwargs)
                except Exception as failure:
                    if not is_transient(failure):
                        raise
                time.sleep(pause)
            return found(*args, **kwargs)

        return sent


# One process at a time writes the runs of a search to MLflow, so that none is created twice.

try:
    import fcntl
except ImportError:  # Not on Windows, where two processes are not kept apart.
    fcntl = None  # type: ignore[assignment]

LOCK = "mlflow.lock"
"""File in the project folder: whoever writes to MLflow has locked it, and says in it who that is.

It stays there: the system takes the lock back with the process, whatever ends that.
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
        patience: Seconds to wait for whoever is writing.

    Yields:
        Whether nobody else writes; `False` where that cannot be known, for the file system has no locks.

    Raises:
        ProjectError: Somebody else is writing, or the file is a link to another one.

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
    path = check_path(folder / LOCK)
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
