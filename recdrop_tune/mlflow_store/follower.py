"""Keeps a tracking server up to date with the journal, from its own thread, outages included."""

from __future__ import annotations

import queue
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from recdrop_tune.events import Event, TrackingWarning
from recdrop_tune.mlflow_store.pages import command

_FIRST_DELAY, _LONGEST_DELAY = 1.0, 30.0
"""Seconds until a failed writer is called again, doubled after each further failure."""


class Background:
    """Calls a writer in a thread, so that training never waits for it.

    The writer is called after each event; it writes those that arrive meanwhile in one go. After a failure it
    is called again, at growing intervals, until it succeeds.

    Args:
        write: Writes what the journal has and the other place lacks.
        describe: Name of the other place in messages.
        journal: The journal, which has every event before this is called.
    """

    def __init__(self, write: Callable[[], None], describe: str, journal: Path) -> None:
        self._write = write
        self._describe = describe
        self._journal = journal
        self._queue: queue.SimpleQueue[threading.Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._due, self._delay = 0.0, _FIRST_DELAY
        self._failure: Exception | None = None
        self._reported = False
        self._late: tuple[threading.Event, str] | None = None

    def on_event(self, event: Event) -> None:
        """Wakes the writer, at the cost of microseconds; warns once if it has failed."""
        if self._thread is None:
            # A daemon: a server that hangs must not keep the interpreter from exiting.
            self._thread = threading.Thread(target=self._run, name="recdrop-tracking", daemon=True)
            self._thread.start()
        self._queue.put(None)
        self._report()

    @property
    def failure(self) -> str | None:
        """Why events are not written; `None` if they are, or might still be."""
        if self._failure is not None:
            return str(self._failure)
        if self._late is not None and not self._late[0].is_set():
            return self._late[1]
        return None

    def flush(self, seconds: float) -> bool:
        """Waits until all events so far are written, or writing them has failed once more.

        Args:
            seconds: The longest wait.

        Returns:
            Whether that was long enough.
        """
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
        while True:
            waiting = self._wait()
            if waiting or time.monotonic() >= self._due:
                try:
                    self._write()
                    self._failure, self._due, self._delay = None, 0.0, _FIRST_DELAY
                except Exception as failure:  # Any error: it must not end the thread.
                    self._failure, self._due = failure, time.monotonic() + self._delay
                    self._delay = min(2 * self._delay, _LONGEST_DELAY)
            for each in waiting:
                each.set()

    def _wait(self) -> list[threading.Event]:
        """Waits for an event, or until the next attempt is due; returns the waiting callers of `flush`."""
        wait = None if self._failure is None else max(0.0, self._due - time.monotonic())
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
        warnings.warn(
            f"{self._describe} failed: {failure}. The search continues, and writing is retried; every event "
            f"is in {self._journal}. If MLflow stays away until the end, write what is missing with: "
            f"{command('sync', str(self._journal.parent))}",
            TrackingWarning,
            stacklevel=4,
        )
