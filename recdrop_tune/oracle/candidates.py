"""Turns configurations of a conditional space into points, so that like ones lie close together."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import islice
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recdrop_tune.oracle.conditions import (
    HyperParameter,
    Values,
    combinations,
    count_values,
    grid_values,
    is_active,
    is_fixed,
    parents_first,
    plain,
)

# The configurations among which the next trial is picked.

MAX_LISTED = 2000
"""Longer lists of values or configurations are drawn from, not written down."""
_DRAWN, _CHANGED = 250, 100


class Candidates:
    """Offers configurations that have not been tried.

    All that are left of a small space; of a large one some drawn at random and some that differ from
    the best in one hyperparameter, and in those that it switches on.

    Args:
        space: The hyperparameters.
    """

    def __init__(self, space: Sequence[HyperParameter]) -> None:
        self._draws = [_Draw(hp) for hp in parents_first(space)]
        short = all(count_values(hp) <= MAX_LISTED for hp in space)
        listed = list(islice(combinations(space), MAX_LISTED + 1)) if short else []
        self._all = listed if 0 < len(listed) <= MAX_LISTED else None

    def untried(
        self, tried: Container[Any], best: Sequence[Values], random: np.random.Generator
    ) -> list[Values]:
        """Lists candidates; none where all has been tried.

        Args:
            tried: What has been tried, as `frozen` gives it.
            best: The best configurations so far.
            random: Source of what is drawn.
        """
        offered = self._all
        if offered is None:
            changed = [best[turn % len(best)] for turn in range(_CHANGED)] if best else []
            offered = [self._draw({}, random) for _ in range(_DRAWN)]
            offered += [self._change(values, random) for values in changed]
        return [values for values in offered if frozen(values) not in tried]

    def _change(self, values: Values, random: np.random.Generator) -> Values:
        free = [draw.name for draw in self._draws if draw.name in values and not draw.fixed]
        changed = free[random.integers(len(free))] if free else None
        return self._draw({n: v for n, v in values.items() if n != changed}, random)

    def _draw(self, kept: Mapping[str, Any], random: np.random.Generator) -> Values:
        values: Values = {}
        at = random.random(len(self._draws)).tolist()
        for draw, place in zip(self._draws, at, strict=True):
            name = draw.name
            if name not in values and (not draw.conditions or draw.is_active(values)):
                values[name] = kept[name] if name in kept else draw(place)
        return values


class _Draw:
    """Draws a value of one hyperparameter; hundreds are drawn for each trial."""

    def __init__(self, hp: HyperParameter) -> None:
        self.name, self.conditions, self.fixed = hp.name, hp.conditions, is_fixed(hp)
        self._hp = hp
        listed = not self.fixed and count_values(hp) <= MAX_LISTED
        self._values = grid_values(hp) if listed else [hp.value] if self.fixed else None

    def is_active(self, values: Values) -> bool:
        return is_active(self._hp, values)

    def __call__(self, place: float) -> Any:
        if self._values is None:
            return plain(self._hp, self._hp.prob_to_value(place))
        return self._values[int(place * len(self._values))]


def frozen(values: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    """Returns a configuration as a member for sets."""
    return frozenset(values.items())


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
