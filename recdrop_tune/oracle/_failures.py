"""Ends a search whose trials all fail, and no other."""

from __future__ import annotations

from typing import Any

from recdrop_tune._arguments import check_integer

OUT_OF_MEMORY = "Out of memory"
NOT_A_NUMBER = "Not a number"


class Failures:
    """Counts the failures in a row.

    A configuration that ran out of memory or diverged failed by its own fault; others may do well.

    Args:
        limit: How many failures in a row end the search.
    """

    def __init__(self, limit: int) -> None:
        self._limit = check_integer("max_consecutive_failed_trials", limit)
        self._count = 0

    def note(self, trial: Any) -> None:
        """Takes note of a trial that has ended.

        Raises:
            RuntimeError: It is one failure too many.
        """
        if trial.status in ("COMPLETED", "STOPPED"):
            self._count = 0
        elif trial.status == "FAILED" and not is_of_the_configuration(trial.message):
            self._count += 1
        if self._count >= self._limit:
            self._count = 0  # Whoever goes on all the same starts to count anew.
            raise RuntimeError(
                f"Number of consecutive failures exceeded the limit of {self._limit}.\n"
                f"{trial.message or ''}"
            )


def is_of_the_configuration(message: str | None) -> bool:
    """Says whether a failure is a configuration's own fault, and no sign of a broken search."""
    return bool(message) and str(message).startswith((OUT_OF_MEMORY, NOT_A_NUMBER))
