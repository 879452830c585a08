"""Hands events on: to the journal first, then to listeners whose failures do no harm."""

from __future__ import annotations

import queue
import threading
import warnings
from collections.abc import Iterable
from pathlib import Path

from recdrop_tune.tracking._events import Event, Listener
from recdrop_tune.tracking._journal import Journal


class TrackingWarning(UserWarning):
    """Tracking failed or is incomplete; the search itself goes on."""


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

    def emit(self, event: Event) -> None:
        """Sends one event."""
        self.journal.on_event(event)
        for listener in list(self.listeners):
            try:
                listener.on_event(event)
            except TrackingWarning:
                raise  # Somebody asked for warnings to be errors.
            except Exception as failure:
                self.listeners.remove(listener)
                warnings.warn(
                    f"{type(listener).__name__} failed and is left out for the rest of the search: "
                    f"{failure}. The search goes on; the events are in {self.journal.path}.",
                    TrackingWarning,
                    stacklevel=2,
                )


class Background:
    """Runs a slow listener in a thread of its own, so that training never waits for it.

    Events reach the listener in order. `flush` waits until it has seen all of them.

    Args:
        listener: The listener, called in the thread only.
        describe: Words for it in messages.
        journal: The file that has every event, for messages too.
    """

    def __init__(self, listener: Listener, describe: str, journal: Path) -> None:
        self._listener = listener
        self._describe = describe
        self._journal = journal
        self._queue: queue.SimpleQueue[Event | threading.Event] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._reported = False
        self._late: tuple[threading.Event, str] | None = None

    def on_event(self, event: Event) -> None:
        """Queues an event, at the cost of microseconds; warns once if the listener has failed."""
        if self._thread is None:
            # A daemon: a server that hangs must not keep the interpreter from ending.
            self._thread = threading.Thread(target=self._run, name="recdrop-tracking", daemon=True)
            self._thread.start()
        self._queue.put(event)
        self._report()

    @property
    def failure(self) -> str | None:
        """Why the listener has not seen every event; `None` as far as it has, or still may."""
        if self._failure is not None:
            return str(self._failure)
        if self._late is not None and not self._late[0].is_set():
            return self._late[1]
        return None

    def flush(self, seconds: float) -> bool:
        """Waits until all events so far were handled.

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
        self._report()
        if not in_time:
            what = f"did not take the last events within {seconds:.0f} s"
            self._late = (done, f"it {what}")
            self._warn(what)
        return in_time

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if isinstance(item, threading.Event):
                item.set()
            elif self._failure is None:
                try:
                    self._listener.on_event(item)
                except Exception as failure:  # Whatever it is, it is the listener's affair alone.
                    self._failure = failure

    def _report(self) -> None:
        if self._failure is not None and not self._reported:
            self._reported = True
            self._warn(f"failed and is left out for the rest of the search: {self._failure}")

    def _warn(self, what: str) -> None:
        warnings.warn(
            f"{self._describe} {what}. The search goes on; every event is in {self._journal}.",
            TrackingWarning,
            stacklevel=3,
        )
