"""The callbacks of a training, and the arguments of `Model.fit`."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Generator, Iterable, Mapping
from typing import Any

import keras
import keras_tuner as kt
from keras_tuner.engine.trial import Trial

from recdrop_tune.errors import RecdropError, invalid_argument
from recdrop_tune.oracle import active_values


class CallbackError(RecdropError, kt.errors.FatalError):
    """A callback cannot be copied, and every training needs its own."""


_FIT = [name for name in inspect.signature(keras.Model.fit).parameters if name != "self"]
"""The arguments of `Model.fit` in their order."""

HOOKS = ("on_epoch_begin", "on_batch_begin", "on_batch_end", "on_epoch_end")
"""Methods of `keras_tuner.Tuner` that are called during `fit`, for subclasses to override."""


def copy_callbacks(
    originals: Iterable[Any],
    trial_id: str,
    execution: int,
    hyperparameters: Any = None,
) -> list[Any]:
    """Copies callbacks, and calls the functions that make some.

    Args:
        originals: Callbacks that can be copied, or functions (or classes) that make one.
        trial_id: The trial; a `TensorBoard` callback writes to one folder for each trial.
        execution: The number of the training in its trial.
        hyperparameters: The `keras_tuner.HyperParameters` of the trial, for TensorBoard.

    Raises:
        CallbackError: A callback cannot be copied.
    """
    # Objects that two of them share are shared by the copies too.
    copied: dict[int, Any] = {}
    callbacks = [_copy(each, copied) for each in originals]
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.TensorBoard):
            parts = (str(callback.log_dir), trial_id, f"execution{execution}")
            callback.log_dir = os.path.join(*parts)
    boards = [each for each in callbacks if isinstance(each, keras.callbacks.TensorBoard)]
    if hyperparameters is not None and keras.backend.backend() == "tensorflow":
        callbacks += [_hyperparameters_callback(each, trial_id, hyperparameters) for each in boards]
    return callbacks


class TunerHooks(keras.callbacks.Callback):
    """Calls the hooks of a tuner, which subclasses override to follow a training."""

    def __init__(self, tuner: Any, trial: Trial) -> None:
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


def hooks_of(tuner: Any, trial: Trial) -> list[TunerHooks]:
    """Returns the callback that calls a tuner's `HOOKS`, if a subclass overrides one.

    A callback with methods for batches slows all of them down.
    """
    is_overridden = any(getattr(type(tuner), name) is not getattr(kt.Tuner, name) for name in HOOKS)
    return [TunerHooks(tuner, trial)] if is_overridden else []


def _hyperparameters_callback(board: Any, trial_id: str, hyperparameters: Any) -> Any:
    # Imported here, as it takes a second and few searches need it.
    from tensorboard.plugins.hparams import api

    values = active_values(hyperparameters)
    return api.KerasCallback(writer=board.log_dir, hparams=values, trial_id=trial_id)


def _copy(original: Any, copied: dict[int, Any]) -> Any:
    if not isinstance(original, keras.callbacks.Callback):
        callback = original()
        if not isinstance(callback, keras.callbacks.Callback):
            raise CallbackError(
                f"A function among the `callbacks` did not return a callback: {original!r} returned "
                f"{callback!r}."
            )
        return callback
    try:
        return copy.deepcopy(original, copied)
    except Exception as error:
        raise CallbackError(
            f"Every training needs its own callbacks, and `{type(original).__name__}` cannot be "
            f"copied ({type(error).__name__}: {error}). Pass a function that makes one: "
            f"callbacks=[lambda: {type(original).__name__}(...)]."
        ) from error


def name_arguments(args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Names the positional arguments of `Model.fit`."""
    return {**kwargs, **dict(zip(_FIT, args, strict=False))}


def is_local(oracle: Any) -> bool:
    """Returns whether an oracle is in this process, and not a stand-in for one in another."""
    return hasattr(oracle, "trials")


def check_data(fit: Mapping[str, Any]) -> None:
    """Refuses generators that can end, as the first trial would exhaust them."""
    for argument, steps in (("x", "steps_per_epoch"), ("validation_data", "validation_steps")):
        if isinstance(fit.get(argument), Generator) and fit.get(steps) is None:
            raise invalid_argument(
                argument,
                expected="data that each trial can read again, in each epoch",
                received=fit[argument],
                fix="Pass arrays, a `keras.utils.PyDataset` or a `tf.data.Dataset`; with a generator that "
                f"never ends, `{steps}` too.",
            )
