"""Ctrl-C that is not lost."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Self

from recdrop_tune.tracking import EpochEnded, Event, TrialStarted


class Interrupts:
    """Has Ctrl-C end a search, wherever it comes.

    Python raises `KeyboardInterrupt` in whatever is being done, and loses it where no exception can be
    raised: in a destructor, or in a function that C++ calls. Training is full of both. So it is remembered
    here, and raised again with the next epoch or trial, should it not have ended the search by then.

    Does nothing outside the main thread, or where somebody else handles the signal.
    """

    def __init__(self) -> None:
        self._came = False
        self._ours = False

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._remember)
            self._ours = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._ours = False

    def on_event(self, event: Event) -> None:
        """Raises what was lost; not with the events of a search that is ending."""
        if self._came and isinstance(event, EpochEnded | TrialStarted):
            self._came = False
            raise KeyboardInterrupt

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._came = True
        signal.default_int_handler(number, frame)
