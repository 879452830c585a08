"""Hands events on: to the journal first, then to listeners whose failures do no harm."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable

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
            raise  # Somebody asked for warnings to be errors.
        except Exception as failure:
            self.listeners.remove(listener)
            warnings.warn(
                f"{type(listener).__name__} failed and is left out for the rest of the search: "
                f"{failure}. The search goes on; the events are in {self.journal.path}.",
                TrackingWarning,
                stacklevel=3,
            )
