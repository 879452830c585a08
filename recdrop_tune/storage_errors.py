"""Disks that are full, over quota or broken: failures of the search, not of a trial."""

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
    """Says whether an exception, or its cause, tells of a disk that is full or broken.

    The next trial would fail in the same way.

    Example:
        >>> is_storage_failure(OSError(errno.ENOSPC, "No space left on device"))
        True
    """
    return any(isinstance(each, StorageError) or _tells(each) for each in _chain(error))


def storage_error(folder: str | Path, error: BaseException) -> StorageError:
    """Makes the error for a search in a project folder which a full or broken disk has ended."""
    known = (each.reason for each in _chain(error) if isinstance(each, StorageError))
    words = (_line(each) for each in _chain(error) if _tells(each))
    reason = next((text for text in (*known, *words) if text), type(error).__name__)
    made = StorageError(
        f"The disk is full or broken, which has ended the search in `{folder}`: {reason}. What is finished "
        "is kept, and the trial that was under way runs again. Make room, and run the search again with "
        "this folder as `directory` to go on."
    )
    made.reason = reason
    return made


@contextmanager
def storage_failures_named(folder: str | Path) -> Iterator[None]:
    """Turns what a full or broken disk raises in the block into a `StorageError` with the project folder."""
    try:
        yield
    except Exception as error:
        if is_storage_failure(error):
            raise storage_error(folder, error) from error
        raise


def reserve(path: Path, size: int) -> None:
    """Raises an `OSError` if there is no room for a file of some bytes, before a library begins to write it.

    HDF5 cannot close a file that it could not write to its end, and crashes when Python ends. `path` is a
    file beside the one that the library will write; it is gone afterwards.
    """
    try:
        with path.open("xb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, max(size, 1))
            else:
                file.truncate(size)
    finally:
        path.unlink(missing_ok=True)


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _tells(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _CODES:
        return True
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (_SQLITE_FULL, _SQLITE_IOERR):
        return True
    native = isinstance(error, OSError | RuntimeError) or "tensorflow" in type(error).__module__
    return native and any(words in str(error) for words in _WORDS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an exception, its cause, the cause of that, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
