"""The journal of a search: every event, one line of JSON each, in the project folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO, Any

from recdrop_tune.tracking._events import Event
from recdrop_tune.tracking._events_json import from_json, to_json

try:
    import fcntl
except ImportError:  # Not on Windows, where nobody is told that a journal is being written.
    fcntl = None  # type: ignore[assignment]

FILE = "events.jsonl"
"""Name of the journal in the project folder."""


class Journal:
    """Appends events to a file; each is on its way to the disk when `on_event` returns.

    The journal is what tracking servers are filled from, so unlike theirs its failures (a full
    disk) are the search's failures.

    Args:
        path: The file; it is made with its first event.

    Attributes:
        end: Length of the file in bytes after the last event that was written here.

    Example:
        >>> Journal("recdrop_runs/speech/events.jsonl").read()
        []
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.end = 0
        self._file: IO[bytes] | None = None

    def on_event(self, event: Event) -> None:
        """Appends one event."""
        if self._file is None:
            self._file = self._open()
        self._file.write(to_json(event).encode() + b"\n")
        self._file.flush()
        self.end = self._file.tell()

    def read(self) -> list[Event]:
        """Returns the events so far; a line cut short by a crash, or damaged, is left out."""
        return self.read_to_end()[0]

    def read_to_end(self) -> tuple[list[Event], int]:
        """Returns the events so far, and how many bytes they take, while others may be written."""
        if not self.path.exists():
            return [], 0
        content = self.path.read_bytes()
        size = content.rfind(b"\n") + 1
        lines = content[:size].decode("utf-8", errors="replace").split("\n")
        return [event for event in map(_parsed, lines) if event is not None], size

    def is_being_written(self, to_write: bool = False) -> bool:
        """Says whether a process that is alive has this journal open for its search.

        Args:
            to_write: Whether the caller is about to write it, and it is an error if that is not allowed.

        Raises:
            OSError: It cannot be read, or written where it is to be.
        """
        if fcntl is None or not self.path.exists():
            return False
        file: IO[bytes]
        try:
            file = self.path.open("r+b")  # NFS locks for writers alone.
        except OSError:
            if to_write:
                raise
            file = self.path.open("rb")
        with file:
            return not lock_alone(file)

    def close(self) -> None:
        """Closes the file; another event opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> IO[bytes]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        cut_short = _is_cut_short(self.path)
        file: IO[bytes] = self.path.open("a+b")
        _share_lock(file)
        if cut_short:
            file.write(b"\n")
        return file


def lock_alone(file: Any) -> bool:
    """Locks an open file or folder, until it is closed; says whether nobody else has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # A file system without locks.
        return True
    return True


def _share_lock(file: Any) -> None:
    """Shows others that the file is being written; the system takes the lock back with the process."""
    if fcntl is None:
        return
    for _ in range(100):
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # Somebody is just looking, which takes no time.
            time.sleep(0.01)
        except OSError:  # A file system without locks.
            return
        else:
            return


def _parsed(line: str) -> Event | None:
    try:
        return from_json(line)
    except ValueError:  # Damaged, or changed by somebody.
        return None


def _is_cut_short(path: Path) -> bool:
    """Says whether a crash has left half a line, which must not become half of another one."""
    return path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
