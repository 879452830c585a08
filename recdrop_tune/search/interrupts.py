"""Ctrl-C, SIGTERM and SIGHUP end a search without losing what it has."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Self

from recdrop_tune.events import (
    INTERRUPTED,
    ConfirmationEnded,
    EpochEnded,
    Event,
    ResultSaved,
    TrialEnded,
    TrialStarted,
)

_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""What batch systems, `docker stop`, `kill` and a closed terminal send."""


class Terminated(KeyboardInterrupt):
    """A signal has told the process to end; the search is ended as by Ctrl-C first."""


class Interrupts:
    """Ends a search by Ctrl-C, SIGTERM or SIGHUP, wherever they come, so that nothing is left open.

    Python raises `KeyboardInterrupt` in whatever is being done, and loses it where no exception can be
    raised: in a destructor, or in a function that C++ calls. Training is full of both. So this object
    remembers it, and raises it again with the next epoch or trial if the search has not ended by then.

    After SIGTERM or SIGHUP all that was entered after this is closed, and then the process ends by that
    signal, as it would without a search. Further signals change nothing then: batch systems send several.
    After Ctrl-C a second one breaks off the closing; if it is lost, as soon as the result is saved.

    Does nothing outside the main thread, in a forked process, or with a signal that somebody else handles or
    ignores (`nohup`).
    """

    def __init__(self) -> None:
        self._came: type[KeyboardInterrupt] | None = None
        self._signal: int | None = None
        self._is_ending = self._came_again = False
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

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
        """Takes the signals; once more, where a library has put its own handlers in the place of these.

        Ray does when it starts, and ends the process without a word.
        """
        for number in self._before:
            signal.signal(number, self._interrupt if number == signal.SIGINT else self._end)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if self._signal is not None:
            with suppress(OSError, ValueError, AttributeError):  # The terminal may be gone.
                for note in getattr(error, "__notes__", ()):  # Nobody will see a traceback.
                    print(note, file=sys.stderr)
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
            signal.raise_signal(self._signal)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Raises an interrupt that C++ has put another error in the place of, as pybind11 does.

        It does so where Python's own raises it while an exception of TensorFlow's is being made.
        """
        try:
            yield
        except Exception as error:
            came, self._came = self._came, None
            if came is None:
                raise
            raise came from error

    def on_event(self, event: Event) -> None:
        """Raises what was lost; of a search that is ending only a Ctrl-C that came since."""
        if self._came is not None and isinstance(
            event, EpochEnded | TrialStarted | ConfirmationEnded
        ):
            came, self._came = self._came, None
            raise came
        if isinstance(event, TrialEnded) and event.status == INTERRUPTED:
            self._is_ending = True
        if isinstance(event, ResultSaved) and self._came_again:
            self._came_again = False
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._signal is None or self._is_elsewhere():
            self._came, self._came_again = KeyboardInterrupt, self._is_ending
            signal.default_int_handler(number, frame)

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self._is_elsewhere():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        elif self._signal is None:
            broken_off, self._signal, self._came = self._came is not None, number, Terminated
            if not broken_off:  # After Ctrl-C the search is ending already.
                raise Terminated(signal.Signals(number).name)

    def _is_elsewhere(self) -> bool:
        """Says whether this is a forked process, whose end is no affair of the search's."""
        return os.getpid() != self._process
