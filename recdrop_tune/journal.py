"""The journal of a search, and the dispatcher: each event goes to the journal, then to the listeners."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from recdrop_tune.errors import ProjectError, shown
from recdrop_tune.events import (
    ConfirmationEnded,
    ConfirmationStarted,
    Event,
    Listener,
    ResultSaved,
    SearchEnded,
    SearchStarted,
    TrackingWarning,
    TrialEnded,
    from_json,
    to_json,
)

try:
    import fcntl
except ImportError:  # Windows has no such locks: a journal that is being written does not show it.
    fcntl = None  # type: ignore[assignment]

_DURABLE = (
    SearchStarted,
    TrialEnded,
    ConfirmationStarted,  # `check_confirmations` relies on it.
    ConfirmationEnded,
    ResultSaved,
    SearchEnded,
)
"""The events after which all so far survive a power cut: without them a training would have been in vain."""


class Journal:
    """Appends events to a file; each is on its way to the disk when `on_event` returns.

    The end of a trial or of a training is on the disk by then, and with it all that came before.

    The journal is what tracking servers are filled from, so unlike theirs its failures (a full
    disk) are the search's failures.

    A link in its place is refused (`ProjectError`), whether it is to be read or written.

    Args:
        path: The file; it is made with its first event.

    Example:
        >>> Journal("recdrop_runs/speech/events.jsonl").read()
        []
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: IO[bytes] | None = None

    def on_event(self, event: Event) -> None:
        """Appends one event."""
        if self._file is None:
            self._file = self._open()
        _append(self._file, to_json(event).encode() + b"\n")
        if isinstance(event, _DURABLE):
            os.fsync(self._file.fileno())

    def read(self, epochs: bool = True) -> list[Event]:
        """Returns the events so far; see `read_from`.

        Args:
            epochs: Whether to parse the epochs. Most lines are epochs, and not every reader needs them.
        """
        return self.read_from(0, epochs)[0]

    def read_from(self, start: int, epochs: bool = True) -> tuple[list[Event], int]:
        """Returns the events after the first `start` bytes; others may be written meanwhile.

        A last line without its end is still being written, or was cut by a crash, and is left out.

        Args:
            start: 0, or the number that an earlier call returned.
            epochs: Whether to parse the epochs.

        Returns:
            The events, and how many bytes have been read now.

        Raises:
            ProjectError: A line is not an event.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                content = file.read()
        except FileNotFoundError:
            return [], start
        size = content.rfind(b"\n") + 1
        lines = content[:size].split(b"\n")[:-1]
        found = (self._event(line) for line in lines if epochs or b'"EpochEnded"' not in line[:40])
        return [event for event in found if event is not None], start + size

    def _event(self, line: bytes) -> Event | None:
        try:
            return from_json(line.decode())
        except ValueError as error:
            raise ProjectError(
                f"`{self.path}` is damaged: {shown(line.decode(errors='replace'))} is not an event. Restore "
                "the file, or begin a search in another folder."
            ) from error

    def is_being_written(self, to_write: bool = False) -> bool:
        """Says whether a process that is alive has this journal open for its search.

        Args:
            to_write: Whether the caller is about to write it, and it is an error if that is not allowed.

        Raises:
            OSError: It cannot be read, or written where it is to be.
        """
        if fcntl is None or not os.path.lexists(self.path):
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
        # Unbuffered: what could not be written must not be written later, after something else.
        file = self.path.open("a+b", buffering=0)
        _share_lock(file)
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)  # A line that a crash has cut.
        return file


def _append(file: IO[bytes], line: bytes) -> None:
    """Appends a line, all of it or nothing."""
    end, left = file.seek(0, os.SEEK_END), memoryview(line)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError:  # Of a full disk. Half a line would become half of another one.
        with suppress(OSError):
            file.truncate(end)
        raise


def has_locks() -> bool:
    """Says whether this system has the locks by which one sees that a journal is being written."""
    return fcntl is not None


def lock_alone(file: Any) -> bool:
    """Locks an open file or folder until it is closed; says whether nobody else holds its lock."""
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
        except BlockingIOError:  # Another process is looking, which takes no time.
            time.sleep(0.01)
        except OSError:  # A file system without locks.
            return
        else:
            return


class Dispatcher:
    """Sends each event to the journal and then to every listener that still works.

    A listener that fails is left out for the rest of the search, with one warning: what it missed
    is in the journal.

    Args:
        journal: The journal, which must not fail.
        listeners: The others, which may.
    """

    def __init__(self, journal: Journal, listeners: Iterable[Listener]) -> None:
        self.journal = journal
        self.listeners = list(listeners)
        self._lock = threading.RLock()

    def emit(self, event: Event) -> None:
        """Sends one event."""
        with self._lock:  # Listeners see the events in the journal's order.
            self.journal.on_event(event)
            for listener in list(self.listeners):
                self._send(listener, event)

    def _send(self, listener: Listener, event: Event) -> None:
        try:
            listener.on_event(event)
        except TrackingWarning:
            raise  # The user wants warnings to be errors.
        except Exception as failure:
            self.listeners.remove(listener)
            warnings.warn(
                f"{type(listener).__name__} failed and is left out for the rest of the search: "
                f"{failure}. The search goes on; the events are in {self.journal.path}.",
                TrackingWarning,
                stacklevel=3,
            )
