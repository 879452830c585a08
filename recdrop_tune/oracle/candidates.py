"""The candidates for a trial."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from recdrop_tune.hyperparameters import (
    MAX_LISTED,
    Key,
    Space,
    Values,
    active_rows,
    configurations,
    key_of,
)

# The size of the sample of a large space: drawn at random, and close to the best configurations.
_DRAWN, _CHANGED = 250, 100
# After this many draws that were tried already, the remaining candidates are listed.
_TRIES = 20


class Candidates:
    """Offers configurations that have not been tried.

    In a space of at most `listed` configurations these are all that are left. In a larger one some are drawn
    at random, and some differ from the best in one hyperparameter, and in those that depend on it.
    """

    def __init__(self, space: Space, listed: int = MAX_LISTED) -> None:
        self._space = space
        every = listed_configurations(space, listed)
        self._all = None if every is None else [(key_of(values), values) for values in every]

    def untried(
        self, tried: Container[Key], best: Sequence[Values], random: np.random.Generator
    ) -> list[Values]:
        """Lists candidates whose keys are not among those `tried`; none if all have been."""
        offered = self._all
        if offered is None:
            changed = [best[turn % len(best)] for turn in range(_CHANGED)] if best else []
            drawn = [self._draw({}, random) for _ in range(_DRAWN)]
            drawn += [self._change(values, random) for values in changed]
            offered = [(key_of(values), values) for values in drawn]
        return [values for key, values in offered if key not in tried]

    def draw(self, tried: Container[Key], random: np.random.Generator) -> Values | None:
        """Draws a configuration at random; None if all have been tried."""
        for _ in range(_TRIES):
            values = self._draw({}, random)
            if key_of(values) not in tried:
                return values
        rest = self.untried(tried, [], random)
        return rest[random.integers(len(rest))] if rest else None

    def _change(self, values: Values, random: np.random.Generator) -> Values:
        active = list(active_rows(self._space, values))
        free = [row for row in active if not row.is_fixed]
        changed = free[random.integers(len(free))] if free else None
        return self._draw({r.name: values[r.key] for r in active if r is not changed}, random)

    def _draw(self, kept: Mapping[str, Any], random: np.random.Generator) -> Values:
        """Draws a configuration, but for the values to keep, which are by name.

        By key, a placement would be kept under another wrapper, which can lack it.
        """
        values: Values = {}
        places = random.random(len(self._space)).tolist()
        for row, place in zip(self._space, places, strict=True):
            if row.is_active(values):
                values[row.key] = kept[row.name] if row.name in kept else row.at(place)
        return values


def listed_configurations(space: Space, most: int) -> list[Values] | None:
    """Lists all configurations of a space; None if there are more, or one of its rows cannot be listed."""
    if any(row.values is None for row in space):
        return None
    every = list(islice(configurations(space), most + 1))
    return every if 0 < len(every) <= most else None
