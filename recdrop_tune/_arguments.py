"""Checks of single arguments that are alike everywhere: whole numbers and flags."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from recdrop_tune.errors import invalid_argument

_TOO_LARGE = 2**31


def check_integer(argument: str, value: Any, least: int = 1) -> int:
    """Returns a whole number as Python's own.

    Args:
        argument: Name of the argument.
        value: What came for it; NumPy's integers are as good.
        least: The smallest number that makes sense.

    Raises:
        InvalidArgumentError: It is no integer, too small, or larger than a tensor can be.

    Example:
        >>> check_integer("epochs", np.int64(3))
        3
    """
    number = isinstance(value, Integral) and not isinstance(value, bool)
    if not number or not least <= int(value) < _TOO_LARGE:
        expected = f"an integer of at least {least}"
        if number and int(value) >= _TOO_LARGE:
            expected += ", below 2**31"
        raise invalid_argument(argument, expected=expected, received=value)
    return int(value)


def check_flag(argument: str, value: Any) -> bool:
    """Returns a flag as Python's own: `"no"` would pass for true.

    Raises:
        InvalidArgumentError: It is neither true nor false.
    """
    if not isinstance(value, bool | np.bool_):
        raise invalid_argument(argument, expected="True or False", received=value)
    return bool(value)
