"""Keeps a tracking server in step with the journal from a thread of its own, outages included."""

from __future__ import annotations

import queue
import threading
import time
import warnings
from collections.abc import Sequence
from typing import Protocol

from recdrop_tune.events import Event, Journal, TrackingWarning
from recdrop_tune.mlflow_store.pages import command

_FIRST_DELAY, _LONGEST_DELAY = 1.0, 30.0
"""Seconds until a failure is tried again: twice as many after each further one."""

_AT_ONCE = 500
"""The most events that are handed over in one go."""


class Follower(Protocol):
    """Whoever is to have everything that is in the journal."""

    def on_events(self, events: Sequence[Event]) -> bool:
        """Takes the next events; `False` asks for `catch_up` in place of the rest."""

    def catch_up(self) -> int:
        """Takes what it lacks from the journal; returns how many bytes of it were read."""


class Background:
    """Runs a follower in a thread of its own, so that training never waits for it.

    A follower that fails misses events, and is asked to catch up from the journal again and again,
    until it does. So does one that has just begun, for the search may be an older one.

    Args:
        follower: The follower, called in the thread only.
        describe: Words for it in messages.
        journal: The journal, which has every event before it is given here.
    """

    def __init__(self, follower: Follower, describe: str, journal: Journal) -> None:
        self._follower = follower
        self._describe = describe
        self._journal = journal
        self._queue: queue.SimpleQueue[tuple[Event, int] | threading.Event] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._in_step = False
        self._seen = 0  # Bytes of the journal that the follower has caught up with.
        self._due, self._delay = 0.0, _FIRST_DELAY
        self._failure: Exception | None = None
        self._reported = False
        self._late: tuple[threading.Event, str] | None = None

    def on_event(self, event: Event) -> None:
        """Queues an event, at the cost of microseconds; warns once if the follower has failed."""
        if self._thread is None:
            # A daemon: a server that hangs must not keep the interpreter from ending.
            self._thread = threading.Thread(target=self._run, name="recdrop-tracking", daemon=True)
            self._thread.start()
        self._queue.put((event, self._journal.end))
        self._report()

    @property
    def failure(self) -> str | None:
        """Why the follower has not seen every event; `None` as far as it has, or still may."""
        if self._failure is not None:
            return str(self._failure)
        if self._late is not None and not self._late[0].is_set():
            return self._late[1]
        return None

    def flush(self, seconds: float) -> bool:
        """Waits until all events so far were taken, or that has failed once more.

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
            events, done = self._next()
            try:
                self._hand_over(events, last_chance=done is not None)
            except Exception as failure:  # Whatever it is, it is the follower's affair alone.
                self._in_step, self._failure = False, failure
                self._due = time.monotonic() + self._delay
                self._delay = min(2 * self._delay, _LONGEST_DELAY)
            if done is not None:
                done.set()

    def _hand_over(self, events: list[tuple[Event, int]], last_chance: bool) -> None:
        fresh = [event for event, end in events if end > self._seen]
        if self._in_step and fresh:
            self._in_step = self._follower.on_events(fresh)
        if not self._in_step and (last_chance or time.monotonic() >= self._due):
            self._seen = self._follower.catch_up()
            self._in_step, self._failure = True, None
            self._due, self._delay = 0.0, _FIRST_DELAY

    def _next(self) -> tuple[list[tuple[Event, int]], threading.Event | None]:
        """Waits for events, or until it is time to try again; returns those up to the next flush."""
        wait = None if self._failure is None else max(0.0, self._due - time.monotonic())
        events: list[tuple[Event, int]] = []
        try:
            item = self._queue.get(timeout=wait)
            while not isinstance(item, threading.Event):
                events.append(item)
                if len(events) == _AT_ONCE:
                    return events, None
                item = self._queue.get_nowait()
            return events, item
        except queue.Empty:
            return events, None

    def _report(self) -> None:
        failure = self.failure
        if failure is None or self._reported:
            return
        self._reported = True
        warnings.warn(
            f"{self._describe} failed: {failure}. The search goes on, and it is tried again; every event "
            f"is in {self._journal.path}. Should it stay away until the end, this writes what it "
            f"missed: {command('sync', str(self._journal.path.parent))}",
            TrackingWarning,
            stacklevel=4,
        )
