"""Checks of single arguments that are alike everywhere: whole numbers, flags and names."""

from __future__ import annotations

import unicodedata
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


LONGEST_NAME = 500
"""MLflow's limit for the name of an experiment."""


def is_name(name: Any) -> bool:
    r"""Says whether an experiment can have a name: no control characters, no half characters, not `..`.

    Example:
        >>> is_name("speech"), is_name(".."), is_name("a\nb")
        (True, False, False)
    """
    return (
        isinstance(name, str)
        and name.strip() not in ("", ".", "..")
        and len(name) <= LONGEST_NAME
        and not any(unicodedata.category(each) in ("Cc", "Cs") for each in name)
    )


def check_flag(argument: str, value: Any) -> bool:
    """Returns a flag as Python's own: `"no"` would pass for true.

    Raises:
        InvalidArgumentError: It is neither true nor false.
    """
    if not isinstance(value, bool | np.bool_):
        raise invalid_argument(argument, expected="True or False", received=value)
    return bool(value)
