"""What accompanies a training: its callbacks, its arguments, and how it fails."""

from __future__ import annotations

import copy
import os
import traceback
from collections.abc import Callable, Iterable
from typing import Any

import keras
import keras_tuner as kt

from recdrop_tune.errors import RecdropError, check_integer
from recdrop_tune.oracle import NOT_A_NUMBER, OUT_OF_MEMORY, active_values

# How a training can fail: what is worth another try, what is not, and what ends the search.

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


# Gives every training callbacks of its own.

CallbackLike = Any | Callable[[], Any]
"""A callback that can be copied, or a function (or class) that makes one."""


HOOKS = ("on_epoch_begin", "on_batch_begin", "on_batch_end", "on_epoch_end")
"""Methods of a `keras_tuner.Tuner` that it calls while a model is fitted, for subclasses to override."""


def own_callbacks(
    given: Iterable[CallbackLike],
    trial_id: str,
    execution: int,
    hyperparameters: Any = None,
) -> list[Any]:
    """Copies callbacks, and calls the functions that make some.

    Args:
        given: The callbacks.
        trial_id: The trial; a `TensorBoard` callback writes to a folder of its own for each.
        execution: Which training of the trial it is.
        hyperparameters: The `keras_tuner.HyperParameters` of the trial, which TensorBoard is told of.

    Raises:
        CallbackError: A callback can be copied no more than it can be used twice.
    """
    callbacks = [_own(each) for each in given]
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.TensorBoard):
            parts = (str(callback.log_dir), trial_id, f"execution{execution}")
            callback.log_dir = os.path.join(*parts)
    boards = [each for each in callbacks if isinstance(each, keras.callbacks.TensorBoard)]
    if hyperparameters is not None and keras.backend.backend() == "tensorflow":
        callbacks += [_shown_in_tensorboard(each, trial_id, hyperparameters) for each in boards]
    return callbacks


class TunerHooks(keras.callbacks.Callback):
    """Calls the methods of a tuner that a subclass overrides to follow a training.

    Args:
        tuner: The tuner.
        trial: The trial that is trained.
    """

    def __init__(self, tuner: Any, trial: Any) -> None:
        super().__init__()
        self._tuner = tuner
        self._trial = trial

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Calls `on_epoch_begin`."""
        self._tuner.on_epoch_begin(self._trial, self.model, epoch, logs=logs)

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Calls `on_batch_begin`."""
        self._tuner.on_batch_begin(self._trial, self.model, batch, logs)

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """Calls `on_batch_end`."""
        self._tuner.on_batch_end(self._trial, self.model, batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Calls `on_epoch_end`."""
        self._tuner.on_epoch_end(self._trial, self.model, epoch, logs=logs)


def hooks_of(tuner: Any, trial: Any) -> list[TunerHooks]:
    """Returns what calls a tuner's `HOOKS`; nothing where no subclass overrides one.

    A callback with a method for batches costs each of them time.
    """
    own = any(getattr(type(tuner), name) is not getattr(kt.Tuner, name) for name in HOOKS)
    return [TunerHooks(tuner, trial)] if own else []


def _shown_in_tensorboard(board: Any, trial_id: str, hyperparameters: Any) -> Any:
    # Here, because it takes a second to import and few searches need it.
    from tensorboard.plugins.hparams import api

    values = active_values(hyperparameters)
    return api.KerasCallback(writer=board.log_dir, hparams=values, trial_id=trial_id)


def _own(given: Any) -> Any:
    if not isinstance(given, keras.callbacks.Callback):
        made = given()
        if not isinstance(made, keras.callbacks.Callback):
            raise CallbackError(
                f"A function among the `callbacks` made no callback: {given!r} returned {made!r}."
            )
        return made
    try:
        return copy.deepcopy(given)
    except Exception as error:
        raise CallbackError(
            f"Every training needs callbacks of its own, and `{type(given).__name__}` cannot be "
            f"copied ({type(error).__name__}: {error}). Pass a function that makes one: "
            f"callbacks=[lambda: {type(given).__name__}(...)]."
        ) from error


# The arguments of a tuner and of its search, checked and in one form.


def named(args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Names the positional arguments of `Model.fit`."""
    return {**kwargs, **dict(zip(("x", "y"), args, strict=False))}


def is_local(oracle: Any) -> bool:
    """Says whether an oracle is here, rather than Keras Tuner's client of one elsewhere."""
    return hasattr(oracle, "trials")


def as_list(callbacks: Any) -> Iterable[CallbackLike]:
    """Returns callbacks as a list: many, one, or none."""
    if callbacks is None:
        return []
    return callbacks if isinstance(callbacks, list | tuple) else [callbacks]


def check_arguments(keep: int | None, reuse: int) -> None:
    """Checks the arguments of a tuner that Keras Tuner's has not.

    Raises:
        InvalidArgumentError: One cannot be worked with.
    """
    if keep is not None:
        check_integer("keep_checkpoints", keep, 1)
    check_integer("reuse_models", reuse, 0)
