"""Finds workers that have gone silent, where Keras Tuner's chief would wait for them for ever."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from recdrop_tune.errors import check_seconds as check_seconds


def is_chief() -> bool:
    """Says whether this process is the chief of Keras Tuner's chief and workers."""
    return "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")


class Liveness:
    """Remembers when each worker was last heard of, and looks for those that were not.

    Args:
        timeout: Seconds of silence after which a worker counts as dead. Workers report at the end of
            each epoch, so it has to be longer than the longest epoch, building included.
        reap: Called with the id of each worker found dead, in a thread of its own.
    """

    def __init__(self, timeout: float, reap: Callable[[str], object]) -> None:
        self._timeout = timeout
        self._reap = reap
        self._seen: dict[str, float] = {}
        self._thread: threading.Thread | None = None

    def hear(self, worker: str) -> None:
        """Takes note of a sign of life; the first one on a chief starts the watch."""
        self._seen[worker] = time.monotonic()
        if self._thread is None and is_chief():
            self._thread = threading.Thread(
                target=self._watch, name="recdrop-liveness", daemon=True
            )
            self._thread.start()

    def forget(self, worker: str) -> None:
        """Stops waiting for a worker."""
        self._seen.pop(worker, None)

    def _watch(self) -> None:
        while True:
            time.sleep(min(1.0, self._timeout / 4))
            now = time.monotonic()
            for worker, seen in list(self._seen.items()):
                if now - seen > self._timeout:
                    self.forget(worker)
                    self._reap(worker)
