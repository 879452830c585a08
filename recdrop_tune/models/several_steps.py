"""Runs several training steps in one call, with the same numbers as single steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from recdrop_tune.kernels import loss_tracker
from recdrop_tune.models.training_batches import number_of_batches

_MOST_STEPS, _FEWEST_CALLS = 16, 4  # Steps in a call; calls in an epoch.
_BATCH_METHODS = tuple(
    f"on_{kind}batch_{end}" for kind in ("", "train_", "test_") for end in ("begin", "end")
)


def follows_batches(callbacks: Any) -> bool:
    """Returns whether a callback has a method for batches, without a true attribute `counts_steps`."""
    return any(
        getattr(getattr(callback, name), "__func__", None)
        is not getattr(keras.callbacks.Callback, name)
        for callback in keras.tree.flatten(callbacks or [])
        if not getattr(callback, "counts_steps", False)
        for name in _BATCH_METHODS
    )


@contextlib.contextmanager
def several_steps(model: Any, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the arguments of a `fit` by name, so that it runs several steps in a call, if possible."""
    callbacks, steps = given.get("callbacks"), number_of_batches(given) // _FEWEST_CALLS
    if (
        steps < 2
        or model.steps_per_execution != 1
        or given.get("verbose", "auto") in ("auto", 1)  # A progress bar shows every batch.
        or isinstance(callbacks, keras.callbacks.CallbackList)
        or follows_batches(callbacks)
        or _has_own_train_function(model)
    ):
        yield given
        return
    calls = getattr(model, _ATTRIBUTE, None)
    if calls is None:
        calls = _Calls(model, min(_MOST_STEPS, steps))
        setattr(model, _ATTRIBUTE, calls)
    every = [_AsCompiled(calls, first=True), *keras.tree.flatten(callbacks or [])]
    try:
        calls.enter(model)
        yield {**given, "callbacks": [*every, _AsCompiled(calls, first=False)]}
    finally:
        calls.leave(model)


def _has_own_train_function(model: Any) -> bool:
    """Returns whether the user has set the function that trains the model."""
    module = getattr(model.train_function, "__module__", None) or ""
    return model.train_function is not None and not module.startswith("keras.")


_ATTRIBUTE = "_recdrop_tune_calls"
"""The attribute of a model with its `_Calls`, which refer to the model and must not outlive it."""


class _Calls:
    """A model's functions that run several steps, and those that it was compiled with.

    They are kept from one `fit` to the next with their number of steps, because results do not depend on it
    and new ones would be traced. A model that is compiled again gets new ones.
    """

    def __init__(self, model: Any, steps: int) -> None:
        self._several: tuple[Any, ...] = (steps, None, None, None)
        # The model's own functions while it runs several steps.
        self._one: tuple[Any, ...] | None = None
        self._compiled = _compiled(model)

    def enter(self, model: Any, between_epochs: bool = False) -> None:
        """Makes the model run several steps in a call; `between_epochs` if it is in training."""
        if self._one is not None:
            return
        now, then = _compiled(model), self._compiled
        # Keras makes the function when training starts, so a first one does not mean another `compile`.
        same = now[-1] is then[-1] or (then[-1] is None and not between_epochs)
        is_new = not same or any(a is not b for a, b in zip(now[:-1], then[:-1], strict=True))
        self._compiled, self._one = now, _functions(model)
        if is_new:
            self._several = (self._several[0], None, None, None)
        _set_functions(model, self._several)
        if is_new and between_epochs and now[-1] is not None:
            model.make_train_function()

    def leave(self, model: Any) -> None:
        """Gives the model its own functions back."""
        if self._one is not None:
            self._several = _functions(model)
            _set_functions(model, self._one)
            self._one = None


class _AsCompiled(keras.callbacks.Callback):
    """Shows the other callbacks the model as it was compiled, between epochs.

    The first callback removes the functions that run several steps, the last sets them again.
    """

    def __init__(self, calls: _Calls, first: bool) -> None:
        super().__init__()
        self._calls = calls
        self._first = first

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Removes the functions, or sets them."""
        if self._first:
            self._calls.leave(self.model)
        else:
            self._calls.enter(self.model, between_epochs=True)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Removes the functions."""
        if self._first:
            self._calls.leave(self.model)


_NAMES = ("steps_per_execution", "train_function", "test_function", "predict_function")


def _functions(model: Any) -> tuple[Any, ...]:
    return tuple(getattr(model, name) for name in _NAMES)


def _set_functions(model: Any, functions: tuple[Any, ...]) -> None:
    for name, value in zip(_NAMES, functions, strict=True):
        setattr(model, name, value)


def _compiled(model: Any) -> list[Any]:
    """Lists objects that `compile` and `make_train_function(force=True)` replace."""
    return [model.optimizer, loss_tracker(model), model.train_function]
