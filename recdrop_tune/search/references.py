"""Functions that are named as `module:function`, instead of given."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name
from types import FunctionType
from typing import Any

from recdrop_tune.errors import RecdropError
from recdrop_tune.search.settings import is_reference


class UserCodeError(RecdropError):
    """A function that was named as `module:function` does not exist, fails, or returns nothing."""


def resolved(value: Any) -> Any:
    """Imports what `module:function` names; returns other values as they are."""
    if not is_reference(value):
        return value
    try:
        return resolve_name(value)
    except (Exception, SystemExit) as error:
        raise UserCodeError(f"`{value}` cannot be imported: {_described(error)}") from error


def call(reference: str) -> Any:
    """Calls the function that `module:function` names."""
    function: Callable[[], Any] = resolved(reference)
    if not callable(function):
        raise UserCodeError(f"`{reference}` is not a function but {function!r:.80}.")
    try:
        value = function()
    except (Exception, SystemExit) as error:
        raise UserCodeError(f"`{reference}` failed: {_described(error)}") from error
    if value is None:
        raise UserCodeError(f"`{reference}` returned nothing. Is its `return` missing?")
    return value


def model_named(value: Any) -> Any:
    """Returns the model, build function or hypermodel that `module:function` names; others as they are.

    A class, or a function without arguments, is called first.
    """
    model = resolved(value)
    if model is value or not isinstance(model, type | FunctionType):
        return model
    parameters = [] if isinstance(model, type) else signature(model).parameters.values()
    return model if any(each.default is each.empty for each in parameters) else call(value)


def _described(error: BaseException) -> str:
    """Describes an exception and the last line of the user's code in its traceback."""
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    others = (str(Path(__file__).parents[1]), sys.base_prefix, "<")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(others) and "site-packages" not in frame.filename
    ]
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text
