"""Turns configurations of a conditional space into points, so that like ones lie close together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recdrop_tune.oracle._candidates import MAX_LISTED
from recdrop_tune.oracle._conditional import (
    HyperParameter,
    Values,
    count_values,
    grid_values,
    is_fixed,
)

Points = NDArray[np.float64]
"""Points of shape `(configurations, coordinates)`."""

_INACTIVE = 0.5


class Encoding:
    """Gives each configuration of a space a point.

    A number becomes its place in its range, from 0 to 1, on the scale that it is drawn on; where it is
    inactive, the middle. A name becomes a coordinate for each value, of which one is not 0: two names
    are 1 apart, as are the ends of a range.

    Args:
        space: The hyperparameters.

    Attributes:
        size: How many hyperparameters are not fixed.
    """

    def __init__(self, space: Sequence[HyperParameter]) -> None:
        self._free = {hp.name: hp for hp in space if not is_fixed(hp)}
        self._places = {name: places(hp) for name, hp in self._free.items() if _is_listed(hp)}
        self.size = len(self._free)

    def __call__(self, configurations: Iterable[Values]) -> Points:
        """Returns a point for each configuration."""
        known = list(configurations)
        columns = [
            column
            for name in self._free
            for column in self._columns(name, [v.get(name) for v in known])
        ]
        return np.array(columns, dtype=float).reshape(len(columns), len(known)).T

    def _columns(self, name: str, values: list[Any]) -> list[list[float]]:
        hp = self._free[name]
        if name not in self._places:
            return [[_INACTIVE if v is None else float(hp.value_to_prob(v)) for v in values]]
        if self._places[name]:
            return [[self._places[name].get(v, _INACTIVE) for v in values]]
        return [[sqrt(0.5) if v == one else 0.0 for v in values] for one in hp.values]


def places(hp: HyperParameter) -> Mapping[Any, float]:
    """Gives each number its place in its range, from 0 to 1; nothing for names, which have no order."""
    values = grid_values(hp)
    if any(isinstance(value, str | bool) for value in values):
        return {}
    return {value: place / max(1, len(values) - 1) for place, value in enumerate(sorted(values))}


def _is_listed(hp: HyperParameter) -> bool:
    return count_values(hp) <= MAX_LISTED
