"""Ctrl-C, SIGTERM and SIGHUP end a search without losing what it has."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from recdrop_tune.events import ConfirmationEnded, EpochEnded, Event, TrialEnded, TrialStarted
from recdrop_tune.kernels import uninterruptible
from recdrop_tune.states import TrialState

_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Sent by batch systems, `docker stop`, `kill` and a closed terminal."""


class Terminated(KeyboardInterrupt):
    """A signal asked the process to end. The search ends first, as by Ctrl-C."""


class Interrupts:
    """Ends a search on Ctrl-C, SIGTERM or SIGHUP at any moment, so that nothing is left open.

    Python raises `KeyboardInterrupt` in the code that is running, and loses it where no exception can be
    raised: in a destructor, or in a function called by C++. Training is full of both, and TensorFlow can turn
    it into another error. So this object remembers it, and raises it again at the next epoch or trial, or
    before a training is recorded as failed, if the search has not ended by then. In functions of TensorFlow
    where an exception would end the process, a signal waits for some milliseconds.

    After SIGTERM or SIGHUP, all contexts entered after this one are closed. Then the process ends by that
    signal, as it would without a search. Further signals change nothing: batch systems send several.
    After Ctrl-C, a second one interrupts the closing.

    Handles no signals outside the main thread, in a forked process, or for a signal that is handled by others
    or ignored (`nohup`).
    """

    def __init__(self) -> None:
        self._came: type[KeyboardInterrupt] | None = None
        self._signal: int | None = None
        self._before: dict[int, Any] = {}
        self._process = os.getpid()
        self._uninterruptible = uninterruptible()

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before[signal.SIGINT] = signal.default_int_handler
        for number in _ENDS:
            if signal.getsignal(number) is signal.SIG_DFL:
                self._before[number] = signal.SIG_DFL
        self.listen()
        return self

    def listen(self) -> None:
        """Handles the signals; called again after a library, such as Ray, has replaced the handlers."""
        for number in self._before:
            signal.signal(number, self._on_signal)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if isinstance(error, KeyboardInterrupt):
            # A hundred frames of Keras and its backend would hide where the user's code started the search.
            error.__traceback__ = error.__cause__ = None
        if self._signal is not None:
            with suppress(OSError, ValueError, AttributeError):  # The terminal may be closed.
                for note in getattr(error, "__notes__", ()):  # There will be no traceback.
                    print(note, file=sys.stderr)
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
            signal.raise_signal(self._signal)

    def before(self, event: Event) -> None:
        """Raises an interrupt that became the error of a training."""
        match event:
            case TrialEnded(status=TrialState.FAILED) | ConfirmationEnded(score=None):
                self._raise()

    def on_event(self, event: Event) -> None:
        """Raises a lost interrupt, unless the search is ending."""
        if isinstance(event, EpochEnded | TrialStarted | ConfirmationEnded):
            self._raise()

    def _raise(self) -> None:
        if self._came is not None:
            came, self._came = self._came, None
            raise came

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if any(each.f_code in self._uninterruptible for each, _ in traceback.walk_stack(frame)):
            threading.Timer(0.01, signal.raise_signal, [number]).start()
        elif number == signal.SIGINT:
            self._interrupt(number, frame)
        else:
            self._end(number)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._signal is None or self._is_elsewhere():
            self._came = KeyboardInterrupt
            signal.default_int_handler(number, frame)

    def _end(self, number: int) -> None:
        if self._is_elsewhere():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        elif self._signal is None:
            is_interrupted, self._signal, self._came = self._came is not None, number, Terminated
            if not is_interrupted:  # After Ctrl-C the search is already ending.
                raise Terminated(signal.Signals(number).name)

    def _is_elsewhere(self) -> bool:
        """Returns whether this is a forked process, which ends on its own."""
        return os.getpid() != self._process
