"""Failed trials: which failures are due to the configuration, and when failures end a search."""

from __future__ import annotations

from typing import Any

from recdrop_tune.errors import RecdropError, check_integer

OUT_OF_MEMORY = "Out of memory"
NOT_A_NUMBER = "Not a number"
"""How the messages begin of trials whose configuration is at fault: others may do well.

A chief receives nothing but the message from its workers.
"""


class TooManyFailuresError(RecdropError, RuntimeError):
    """Too many trials failed in a row, which ends the search. Keras Tuner raises a `RuntimeError`."""


class Failures:
    """Counts the failures in a row that are not due to a configuration.

    Args:
        limit: The number of failures in a row that ends the search.
    """

    def __init__(self, limit: int) -> None:
        self._limit = check_integer("max_consecutive_failed_trials", limit)
        self._count = 0

    def note(self, trial: Any) -> None:
        """Counts a trial that has ended.

        Raises:
            TooManyFailuresError: The limit is reached.
        """
        message = str(trial.message or "")
        if trial.status in ("COMPLETED", "STOPPED"):
            self._count = 0
        elif trial.status == "FAILED" and not message.startswith((OUT_OF_MEMORY, NOT_A_NUMBER)):
            self._count += 1
        if self._count >= self._limit:
            self._count = 0  # For a search that is continued.
            raise TooManyFailuresError(
                f"Number of consecutive failures exceeded the limit of {self._limit}.\n{message}"
            )


def has_ended_by_failures(oracle: Any, error: Exception) -> bool:
    """Returns whether an oracle raised an error because too many of its trials failed in a row.

    Keras Tuner's own oracles raise a plain `RuntimeError`, so their failures are counted.

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
