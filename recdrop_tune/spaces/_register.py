"""Registers single hyperparameters on Keras Tuner's `HyperParameters`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recdrop_tune.spaces._values import Range, Value


@contextmanager
def named(hp: Any, name: str | None) -> Iterator[None]:
    """Prefixes hyperparameter names by `name/` where there is a name."""
    if name is None:
        yield
        return
    with hp.name_scope(name):
        yield


def register(hp: Any, name: str, value: Value) -> Any:
    """Registers one hyperparameter and returns its value, `None` where it is inactive."""
    if isinstance(value, Range):
        return _register_range(hp, name, value)
    if not isinstance(value, tuple):
        return hp.Fixed(name, value)
    if all(isinstance(item, bool) for item in value):
        # `Choice` would make 0 and 1 of them.
        return hp.Boolean(name, default=value[0])
    return hp.Choice(name, list(value))


def _register_range(hp: Any, name: str, value: Range) -> Any:
    method = hp.Int if isinstance(value.min, int) else hp.Float
    sampling = "log" if value.log else "linear"
    drawn = method(name, value.min, _reachable_max(value), step=value.step, sampling=sampling)
    if drawn is None or value.step is None:
        return drawn
    # Keras Tuner multiplies steps out: 0.05 + 2 * 0.05 is 0.15000000000000002, and 0.15 is meant.
    return drawn if isinstance(drawn, int) else float(f"{drawn:.12g}")


def _reachable_max(value: Range) -> float:
    """Returns the last value of a stepped range, so that Keras Tuner counts it in.

    Keras Tuner takes `(max - min) // step + 1` values, which floating point cuts by one for ranges
    such as 0.05 to 0.6 by 0.05: the upper end would never be tried. Where that is so, the upper end
    is moved by the one or two units in the last place that mend the count.
    """
    if value.step is None or value.size is None or isinstance(value.min, int):
        return value.max
    steps = value.size - 1
    last = float(f"{value.min + steps * value.step:.12g}")
    while (last - value.min) // value.step < steps:
        last = math.nextafter(last, math.inf)
    return last
