"""The configurations among which the next trial is picked."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from recdrop_tune.oracle._conditional import (
    HyperParameter,
    Values,
    combinations,
    is_active,
    is_finite,
    is_fixed,
    parents_first,
    plain,
)

_MAX_LISTED = 2000
_DRAWN, _CHANGED = 250, 100


class Candidates:
    """Offers configurations that have not been tried.

    All that are left of a small space; of a large one some drawn at random and some that differ from
    the best in one hyperparameter, and in those that it switches on.

    Args:
        space: The hyperparameters.
    """

    def __init__(self, space: Sequence[HyperParameter]) -> None:
        self._ordered = parents_first(space)
        listed = list(islice(combinations(space), _MAX_LISTED + 1)) if is_finite(space) else []
        self._all = listed if 0 < len(listed) <= _MAX_LISTED else None

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
        free = [hp.name for hp in self._ordered if hp.name in values and not is_fixed(hp)]
        changed = free[random.integers(len(free))] if free else None
        return self._draw({n: v for n, v in values.items() if n != changed}, random)

    def _draw(self, kept: Mapping[str, Any], random: np.random.Generator) -> Values:
        values: Values = {}
        for hp in self._ordered:
            if hp.name not in values and is_active(hp, values):
                fixed = hp.value if is_fixed(hp) else kept.get(hp.name)
                drawn = plain(hp, hp.prob_to_value(random.random())) if fixed is None else fixed
                values[hp.name] = drawn
        return values


def frozen(values: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    """Returns a configuration as a member for sets."""
    return frozenset(values.items())
