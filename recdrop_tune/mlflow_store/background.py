"""MLflow as a listener of a search that is running: written to in a thread, outages included."""

from __future__ import annotations

import queue
import threading
import time
import warnings

from recdrop_tune.errors import hide
from recdrop_tune.events import Event, ResultSaved, TrackingWarning
from recdrop_tune.files import MODEL_CARD
from recdrop_tune.mlflow_store.artifacts import load_flavor
from recdrop_tune.mlflow_store.pages import command
from recdrop_tune.mlflow_store.writer import MLflowWriter

_FIRST_DELAY, _LONGEST_DELAY = 1.0, 30.0
"""Seconds until a failed writer is called again, doubled after each further failure."""

_TOLERANCE = 5.0
"""Seconds after which a writer that keeps failing is reported: a busy server might answer the next call."""


class MLflowStore:
    """MLflow as a listener: calls its writer in a thread, so that training never waits for it.

    The writer is called after each event; it writes those that arrive meanwhile in one go. After a failure it
    is called again, at growing intervals, until it succeeds.
    """

    def __init__(self, writer: MLflowWriter) -> None:
        self._writer, self.runs = writer, writer.ids
        self._queue: queue.SimpleQueue[threading.Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._due, self._delay = 0.0, _FIRST_DELAY
        self._error: Exception | None = None
        self._failing_since = 0.0
        self._reported = False
        self._late: tuple[threading.Event, str] | None = None

    def on_event(self, event: Event) -> None:
        """Wakes the writer, at the cost of microseconds; warns once if it keeps failing."""
        if isinstance(event, ResultSaved) and any(f.endswith(MODEL_CARD) for f in event.files):
            load_flavor()  # Here, because the writer's thread must not filter warnings.
        if self._thread is None:
            # A daemon: a server that hangs must not keep the interpreter from exiting.
            self._thread = threading.Thread(target=self._run, name="recdrop-tracking", daemon=True)
            self._thread.start()
        self._queue.put(None)
        self._report()

    @property
    def failure(self) -> str | None:
        """Why events are not written; `None` if they are, or might still be."""
        if self._error is not None and self._keeps_failing():
            return str(self._error)
        if self._late is not None and not self._late[0].is_set():
            return self._late[1]
        return None

    def flush(self, seconds: float) -> bool:
        """Waits until all events so far are written, or writing keeps failing; returns whether in time."""
        if self._thread is None:
            return True
        done = threading.Event()
        self._queue.put(done)
        in_time = done.wait(seconds)
        if not in_time:
            self._late = (done, f"it did not take the last events within {seconds:.0f} s")
        self._report()
        return in_time

    def _run(self) -> None:
        flushing: list[threading.Event] = []
        while True:
            new = self._wait()
            flushing += new
            if new or time.monotonic() >= self._due:
                self._call_writer()
            if self._error is None or self._keeps_failing():
                for done in flushing:
                    done.set()
                flushing.clear()

    def _call_writer(self) -> None:
        begin = time.monotonic()
        try:
            self._writer.write()
            self._error, self._due, self._delay = None, 0.0, _FIRST_DELAY
        except Exception as error:  # Any error: it must not end the thread.
            if self._error is None:
                self._failing_since = begin
            self._error, self._due = error, time.monotonic() + self._delay
            self._delay = min(2 * self._delay, _LONGEST_DELAY)

    def _keeps_failing(self) -> bool:
        return time.monotonic() - self._failing_since >= _TOLERANCE

    def _wait(self) -> list[threading.Event]:
        """Waits for an event, or until the next attempt is due; returns the waiting callers of `flush`."""
        wait = None if self._error is None else max(0.0, self._due - time.monotonic())
        waiting = []
        try:
            item = self._queue.get(timeout=wait)
            while True:
                if item is not None:
                    waiting.append(item)
                item = self._queue.get_nowait()
        except queue.Empty:
            return waiting

    def _report(self) -> None:
        failure = self.failure
        if failure is None or self._reported:
            return
        self._reported = True
        folder = self._writer.journal.path.parent
        warnings.warn(
            f"MLflow at {hide(self._writer.uri)} failed: {failure}. The search continues, and writing is "
            f"retried; every event is in {self._writer.journal.path}. If MLflow stays away until the end, "
            f"write what is missing with: {command('sync', str(folder))}",
            TrackingWarning,
            stacklevel=4,
        )
