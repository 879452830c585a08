"""The candidates for the next trial, and their distances."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import islice
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution

from recdrop_tune.oracle.parameters import (
    MAX_LISTED,
    Key,
    Parameter,
    Values,
    combinations,
    is_ordered,
    key_of,
)

_DRAWN, _CHANGED = 250, 100
# After this many draws that were tried already, the remaining candidates are listed.
_TRIES = 20


class Candidates:
    """Offers configurations that have not been tried.

    In a small space these are all that are left. In a large one some are drawn at random, and some differ
    from the best in one parameter, and in those that depend on it.

    Args:
        space: The parameters, parents first.
        listed: The most configurations of a small space.
    """

    def __init__(self, space: Sequence[Parameter], listed: int = MAX_LISTED) -> None:
        self._space = space
        self._distributions = {each.name: each.distribution for each in space}
        short = all(each.values is not None for each in space)
        every = list(islice(combinations(space), listed + 1)) if short else []
        self._all = (
            [(self.key(values), values) for values in every] if 0 < len(every) <= listed else None
        )

    def key(self, values: Values) -> Key:
        """Returns a configuration as a member of the `tried` set of `untried`."""
        return key_of(values, self._distributions)

    def untried(
        self, tried: Container[Key], best: Sequence[Values], random: np.random.Generator
    ) -> list[Values]:
        """Lists candidates; none if all have been tried.

        Args:
            tried: The keys of the configurations that were tried.
            best: The best configurations so far.
            random: The random generator.
        """
        offered = self._all
        if offered is None:
            changed = [best[turn % len(best)] for turn in range(_CHANGED)] if best else []
            drawn = [self._draw({}, random) for _ in range(_DRAWN)]
            drawn += [self._change(values, random) for values in changed]
            offered = [(self.key(values), values) for values in drawn]
        return [values for key, values in offered if key not in tried]

    def draw(self, tried: Container[Key], random: np.random.Generator) -> Values | None:
        """Draws a configuration at random; None if all have been tried.

        Args:
            tried: The keys of the configurations that were tried.
            random: The random generator.
        """
        for _ in range(_TRIES):
            values = self._draw({}, random)
            if self.key(values) not in tried:
                return values
        rest = self.untried(tried, [], random)
        return rest[random.integers(len(rest))] if rest else None

    def _change(self, values: Values, random: np.random.Generator) -> Values:
        free = [each.name for each in self._space if each.name in values and not each.is_fixed]
        changed = free[random.integers(len(free))] if free else None
        return self._draw({n: v for n, v in values.items() if n != changed}, random)

    def _draw(self, kept: Mapping[str, Any], random: np.random.Generator) -> Values:
        values: Values = {}
        places = random.random(len(self._space)).tolist()
        for each, place in zip(self._space, places, strict=True):
            name = each.name
            if name not in values and (not each.when or each.is_active(values)):
                values[name] = kept[name] if name in kept else each.at(place)
        return values


Points = NDArray[np.float64]
"""Points of shape `(configurations, coordinates)`."""

_INACTIVE = 0.5


class Encoding:
    """Maps the configurations of a space to points, similar ones close together.

    A number becomes its place in its range, from 0 to 1, on the scale that it is drawn on, or the middle if
    it is inactive. A name is encoded one-hot, so that two names are 1 apart, as are the ends of a range.

    Args:
        space: The parameters.

    Attributes:
        size: The number of parameters that are not fixed.
    """

    def __init__(self, space: Iterable[Parameter]) -> None:
        self._free = {each.name: each for each in space if not each.is_fixed}
        self.size = len(self._free)

    def __call__(self, configurations: Iterable[Values]) -> Points:
        """Returns a point for each configuration."""
        known = list(configurations)
        columns = [
            column
            for name, each in self._free.items()
            for column in _columns(each, [values.get(name) for values in known])
        ]
        return np.array(columns, dtype=float).reshape(len(columns), len(known)).T


def _columns(parameter: Parameter, values: list[Any]) -> list[list[float]]:
    distribution: Any = parameter.distribution
    if not isinstance(distribution, CategoricalDistribution):
        scale = math.log if distribution.log else float
        low, high = scale(distribution.low), scale(distribution.high)
        # If a range has changed, values of earlier trials can lie outside.
        return [
            [
                _INACTIVE if v is None else min(max((scale(v) - low) / (high - low), 0.0), 1.0)
                for v in values
            ]
        ]
    choices: Any = distribution.choices
    if is_ordered(parameter):
        ranks = {v: rank / (len(choices) - 1) for rank, v in enumerate(sorted(choices))}
        return [[ranks.get(v, _INACTIVE) for v in values]]
    return [[sqrt(0.5) if v == one else 0.0 for v in values] for one in choices]
