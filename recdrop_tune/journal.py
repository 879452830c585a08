"""The journal of a search, and the dispatcher that sends each event to the journal and to listeners."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from recdrop_tune.errors import ProjectError, format_repr
from recdrop_tune.events import (
    ConfirmationEnded,
    ConfirmationStarted,
    Event,
    Guard,
    Listener,
    ResultSaved,
    SearchEnded,
    SearchStarted,
    TrackingWarning,
    TrialEnded,
    TrialStarted,
    from_json,
    to_json,
)
from recdrop_tune.files import check_can_be_read, lock, name_file_in_errors

_DURABLE = (
    SearchStarted,
    # `read_records` relies on the starts.
    TrialStarted,
    TrialEnded,
    ConfirmationStarted,
    ConfirmationEnded,
    ResultSaved,
    SearchEnded,
)
"""These events and all before them survive a power cut: without them, a training would be lost."""


class Journal:
    """Appends the events of a search to a file.

    When `on_event` returns for the end of a trial or of a training, that event and all earlier ones are on
    the disk. MLflow is filled from the journal, so a failure to write it (a full disk) ends the search.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: IO[bytes] | None = None

    def on_event(self, event: Event) -> None:
        """Appends one event."""
        if self._file is None:
            self._file = self._open()
        with name_file_in_errors(self.path):
            _append(self._file, to_json(event).encode() + b"\n")
            if isinstance(event, _DURABLE):
                os.fsync(self._file.fileno())

    def read(self, epochs: bool = True) -> list[Event]:
        """Returns the events so far; without `epochs`, which most lines are, it takes less time."""
        return self.read_from(0, epochs)[0]

    def read_from(self, start: int, epochs: bool = True) -> tuple[list[Event], int]:
        """Returns the events after the first `start` bytes, and the number of bytes read so far.

        An incomplete last line is left out: another process is still writing it, or a crash cut it. A line
        that is not an event raises a `ProjectError`. Without `epochs`, these are not parsed.
        """
        check_can_be_read(self.path)
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                content = file.read()
        except FileNotFoundError:
            return [], start
        size = content.rfind(b"\n") + 1
        lines = content[:size].split(b"\n")[:-1]
        events = []
        for line in lines:
            if not epochs and b'"EpochEnded"' in line[:40]:
                continue
            try:
                events.append(from_json(line.decode()))
            except ValueError as error:
                raise ProjectError(
                    f"`{self.path}` is damaged: {format_repr(line.decode(errors='replace'))} is not an "
                    "event. Restore the file, or start a search in another folder."
                ) from error
        return events, start + size

    def is_being_written(self, to_write: bool = False) -> bool:
        """Returns whether a living process has this journal open for its search.

        If it cannot be read, or with `to_write` not be written, this raises `OSError`.
        """
        if not os.path.lexists(self.path):
            return False
        file: IO[bytes]
        try:
            file = self.path.open("r+b")  # NFS locks only files open for writing.
        except OSError:
            if to_write:
                raise
            file = self.path.open("rb")
        with file:
            return lock(file) is False

    def close(self) -> None:
        """Closes the file; the next event opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> IO[bytes]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: a line that could not be written must not appear later, after another one.
        file = self.path.open("a+b", buffering=0)
        # Another process that checks the lock holds it for a moment.
        lock(file, shared=True, patience=1.0)
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)  # Removes a line that a crash has cut.
        return file


def _append(file: IO[bytes], line: bytes) -> None:
    """Appends a whole line or nothing."""
    end, left = file.seek(0, os.SEEK_END), memoryview(line)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError:  # A full disk. The next line would be glued to half of this one.
        with suppress(OSError):
            file.truncate(end)
        raise


class Dispatcher:
    """Sends each event to the journal, whose failures end the search, then to every listener.

    Guards among them see it before, and can end the search. A listener that fails is dropped for the rest of
    the search, with one warning. The journal has the events that it missed.
    """

    def __init__(self, journal: Journal, listeners: Iterable[Listener]) -> None:
        self.journal = journal
        self.listeners = list(listeners)
        self._lock = threading.RLock()

    def emit(self, event: Event) -> None:
        """Sends one event."""
        with self._lock:  # Listeners see the events in the journal's order.
            for each in self.listeners:
                if isinstance(each, Guard):
                    each.before(event)
            self.journal.on_event(event)
            self.notify(event)

    def notify(self, event: Event) -> None:
        """Sends an event that the journal has to every listener."""
        for listener in list(self.listeners):
            try:
                listener.on_event(event)
            except TrackingWarning:
                raise  # The user turned warnings into errors.
            except Exception as failure:
                self.listeners.remove(listener)
                warnings.warn(
                    f"{type(listener).__name__} failed and gets no more events of this search: "
                    f"{failure}. The search continues; all events are in {self.journal.path}.",
                    TrackingWarning,
                    stacklevel=3,
                )
