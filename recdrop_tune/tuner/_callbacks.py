"""Gives every training callbacks of its own."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable
from typing import Any

import keras

from recdrop_tune.tuner._failures import CallbackError

CallbackLike = Any | Callable[[], Any]
"""A callback that can be copied, or a function (or class) that makes one."""


def own_callbacks(given: Iterable[CallbackLike], trial_id: str, execution: int) -> list[Any]:
    """Copies callbacks, and calls the functions that make some.

    Args:
        given: The callbacks.
        trial_id: The trial; a `TensorBoard` callback writes to a folder of its own for each.
        execution: Which training of the trial it is.

    Raises:
        CallbackError: A callback can be copied no more than it can be used twice.
    """
    callbacks = [_own(each) for each in given]
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.TensorBoard):
            parts = (str(callback.log_dir), trial_id, f"execution{execution}")
            callback.log_dir = os.path.join(*parts)
    return callbacks


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
