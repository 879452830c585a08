"""Full, broken or over-quota disks: they fail the search, not a trial, for the next one would fail too."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recdrop_tune.errors import StorageError

_CODES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})

# TensorFlow and HDF5 quote the system's words, and not always its number.
_WORDS = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT))

# SQLite's codes for "database or disk is full" and "disk I/O error".
_SQLITE_FULL, _SQLITE_IOERR = 13, 10


def is_storage_failure(error: BaseException) -> bool:
    """Returns whether an exception, or one that caused it, reports a full or broken disk."""
    return any(map(_is_reported, _chain(error)))


def storage_error(folder: str | Path, error: BaseException) -> StorageError:
    """Makes the error for a search in a project folder that a full or broken disk has ended."""
    reported = next((each for each in _chain(error) if _is_reported(each)), error)
    if isinstance(reported, StorageError):
        reason = reported.reason
    else:
        reason = str(reported).strip().partition("\n")[0].rstrip(".")
    made = StorageError(
        f"The disk is full or broken, which has ended the search in `{folder}`: {reason}. What is finished "
        "is kept, and the interrupted trial will run again. Make room, and run the search again with "
        "this folder as `directory` to continue."
    )
    made.reason = reason
    return made


@contextmanager
def storage_failures_named(folder: str | Path) -> Iterator[None]:
    """Raises a `StorageError` that names the project folder if the block fails for a full or broken disk."""
    try:
        yield
    except Exception as error:
        if is_storage_failure(error):
            raise storage_error(folder, error) from error
        raise


def reserve(path: Path, size: int) -> None:
    """Raises an `OSError` if there is no room for a file of `size` bytes, before a library writes it.

    HDF5 cannot close a file that it could not write completely, and crashes when Python ends. The file at
    `path`, which must not exist, is deleted afterwards.
    """
    try:
        with path.open("xb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, max(size, 1))
            else:
                file.truncate(size)
    finally:
        path.unlink(missing_ok=True)


def _is_reported(error: BaseException) -> bool:
    if isinstance(error, StorageError):
        return True
    if isinstance(error, OSError) and error.errno in _CODES:
        return True
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (_SQLITE_FULL, _SQLITE_IOERR):
        return True
    # Users' own exceptions can contain these words too.
    native = isinstance(error, OSError | RuntimeError) or "tensorflow" in type(error).__module__
    return native and any(words in str(error) for words in _WORDS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an exception, its cause, the cause of that, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
