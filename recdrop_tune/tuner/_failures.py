"""How a training can fail: what is worth another try, what is not, and what ends the search."""

from __future__ import annotations

import traceback

import keras_tuner as kt

from recdrop_tune.errors import RecdropError
from recdrop_tune.oracle import NOT_A_NUMBER, OUT_OF_MEMORY

# By name, so that no backend is imported for the asking: TensorFlow's, torch's, and jax's, which has
# one class for everything and says in its text which it was.
_MEMORY_ERRORS = {"MemoryError", "ResourceExhaustedError", "OutOfMemoryError"}
_MEMORY_WORDS = ("RESOURCE_EXHAUSTED", "out of memory")


class TrialPrunedError(Exception):
    """The oracle has no use for the rest of a trial. Raised between trainings, never inside `fit`."""


class NoFiniteObjectiveError(RecdropError):
    """The objective was NaN or infinite in every epoch of a trial."""

    def __init__(self, objective: str) -> None:
        super().__init__(
            f"{NOT_A_NUMBER}: `{objective}` was NaN or infinite in every epoch; try a smaller "
            "learning rate, or clip gradients (`clipnorm=1.0` in the optimizer). NaN or infinity in the "
            "data do the same."
        )


class CallbackError(RecdropError, kt.errors.FatalError):
    """A callback can be used for one training only, and every training needs its own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Says whether an exception tells of memory that ran out, on whatever backend."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _MEMORY_ERRORS:
        return True
    return "RuntimeError" in names and any(word in str(error) for word in _MEMORY_WORDS)


def outcome(error: Exception) -> tuple[str, str]:
    """Returns the status with which Keras Tuner ends the trial, and the message that it keeps.

    Args:
        error: What training raised.

    Returns:
        `STOPPED` for a pruned trial, `FAILED` where another try would end the same way, else
        `INVALID`: Keras Tuner tries again if it has been told to.
    """
    if isinstance(error, TrialPrunedError):
        return "STOPPED", ""
    if isinstance(error, NoFiniteObjectiveError):
        return "INVALID", str(error)
    text = traceback.format_exc()
    if is_out_of_memory(error):
        what = f"{OUT_OF_MEMORY}: the model of this trial does not fit beside its batch."
        return "FAILED", f"{what}\n{text}"
    return ("FAILED" if isinstance(error, kt.errors.FailedTrialError) else "INVALID"), text
