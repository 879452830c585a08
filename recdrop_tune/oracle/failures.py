"""Failed trials: which ones are a configuration's own fault, and when so many fail that the search ends."""

from __future__ import annotations

from typing import Any

from recdrop_tune.errors import RecdropError, check_integer

OUT_OF_MEMORY = "Out of memory"
NOT_A_NUMBER = "Not a number"


class TooManyFailuresError(RecdropError, RuntimeError):
    """So many trials failed in a row that the search has ended; Keras Tuner raises a `RuntimeError` there."""


class Failures:
    """Counts the failures in a row: a search ends whose trials all fail, and no other.

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
            TooManyFailuresError: It is one failure too many.
        """
        if trial.status in ("COMPLETED", "STOPPED"):
            self._count = 0
        elif trial.status == "FAILED" and not _is_of_the_configuration(trial.message):
            self._count += 1
        if self._count >= self._limit:
            self._count = 0  # A search that goes on all the same counts anew.
            raise TooManyFailuresError(
                f"Number of consecutive failures exceeded the limit of {self._limit}.\n"
                f"{trial.message or ''}"
            )


def _is_of_the_configuration(message: str | None) -> bool:
    return bool(message) and str(message).startswith((OUT_OF_MEMORY, NOT_A_NUMBER))


def has_ended_by_failures(oracle: Any, error: Exception) -> bool:
    """Says whether an error is an oracle's way to end a search because its trials failed.

    Keras Tuner's own oracles have no class for it: they raise a `RuntimeError` once as many trials as they
    allow have failed in a row.

    Args:
        oracle: The oracle, as it was when the error was raised.
        error: The error.
    """
    if isinstance(error, TooManyFailuresError):
        return True
    if not isinstance(error, RuntimeError) or isinstance(error, RecdropError):
        return False
    in_a_row = 0
    for id in oracle.end_order:
        in_a_row = in_a_row + 1 if oracle.trials[id].status == "FAILED" else 0
        if in_a_row == oracle.max_consecutive_failed_trials:
            return True
    return False
