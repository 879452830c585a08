"""Keeps a tracking server in step with the journal from a thread of its own, outages included."""

from __future__ import annotations

import queue
import threading
import time
import warnings
from pathlib import Path
from typing import Protocol

from recdrop_tune.events import Event, TrackingWarning
from recdrop_tune.mlflow_store.pages import command

_FIRST_DELAY, _LONGEST_DELAY = 1.0, 30.0
"""Seconds until a failure is tried again: twice as many after each further one."""


class Writer(Protocol):
    """Writes what is in the journal to somewhere else."""

    def write(self) -> None:
        """Writes what the journal has and the other place lacks."""


class Background:
    """Runs a writer in a thread of its own, so that training never waits for it.

    It is called after each event; while it writes others come up, which it writes in one go. After a failure
    it is called again and again, after ever longer pauses, until it succeeds.

    Args:
        writer: The writer, called in the thread only.
        describe: Words for the other place in messages.
        journal: The file of the journal, which has every event before it is given here.
    """

    def __init__(self, writer: Writer, describe: str, journal: Path) -> None:
        self._writer = writer
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
            # A daemon: a server that hangs must not keep the interpreter from ending.
            self._thread = threading.Thread(target=self._run, name="recdrop-tracking", daemon=True)
            self._thread.start()
        self._queue.put(None)
        self._report()

    @property
    def failure(self) -> str | None:
        """Why the writer has not written every event; `None` as far as it has, or still may."""
        if self._failure is not None:
            return str(self._failure)
        if self._late is not None and not self._late[0].is_set():
            return self._late[1]
        return None

    def flush(self, seconds: float) -> bool:
        """Waits until all events so far were written, or that has failed once more.

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
                    self._writer.write()
                    self._failure, self._due, self._delay = None, 0.0, _FIRST_DELAY
                except Exception as failure:  # Whatever it is, it is the writer's affair alone.
                    self._failure, self._due = failure, time.monotonic() + self._delay
                    self._delay = min(2 * self._delay, _LONGEST_DELAY)
            for each in waiting:
                each.set()

    def _wait(self) -> list[threading.Event]:
        """Waits for an event, or until it is time to try again; returns who waits for what there is now."""
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
            f"{self._describe} failed: {failure}. The search goes on, and it is tried again; every event "
            f"is in {self._journal}. Should it stay away until the end, this writes what it "
            f"missed: {command('sync', str(self._journal.parent))}",
            TrackingWarning,
            stacklevel=4,
        )
