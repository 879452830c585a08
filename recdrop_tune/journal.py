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

    Args:
        path: The file; the first event creates it.

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
        with name_file_in_errors(self.path):
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
        """Returns the events after the first `start` bytes, also while another process writes.

        An incomplete last line is left out: it is still being written, or a crash cut it.

        Args:
            start: 0, or the number that an earlier call returned.
            epochs: Whether to parse the epochs.

        Returns:
            The events, and the number of bytes read so far.

        Raises:
            ProjectError: A line is not an event, or the journal is not a file.
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

        Args:
            to_write: Whether the caller will write to it next. If that is impossible, this raises.

        Raises:
            OSError: The file cannot be read, or with `to_write` not be written.
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
    """Sends each event to the journal, then to every listener.

    A listener that fails is dropped for the rest of the search, with one warning. The journal has the events
    that it missed.

    Args:
        journal: The journal. Its failures end the search.
        listeners: The other receivers.
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
                        stacklevel=2,
                    )
