"""Checks of the wrappers' own arguments."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from recdrop_tune.errors import invalid_argument


def check_flag(argument: str, value: Any) -> bool:
    """Returns a flag as Python's own: `"no"` would pass for true.

    Raises:
        InvalidArgumentError: It is neither true nor false.
    """
    if not isinstance(value, bool | np.bool_):
        raise invalid_argument(argument, expected="True or False", received=value)
    return bool(value)


def check_count(argument: str, value: Any) -> int:
    """Returns a count as Python's own integer.

    Raises:
        InvalidArgumentError: It is no integer of at least 1, or larger than a tensor can be.
    """
    number = isinstance(value, Integral) and not isinstance(value, bool)
    if not number or not 1 <= int(value) < 2**31:
        raise invalid_argument(argument, expected="an integer >= 1, < 2**31", received=value)
    return int(value)
