"""Configurations as points, for models of their scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recdrop_tune.hyperparameters import Hyperparameter

Points = NDArray[np.float64]
"""Points of shape `(configurations, coordinates)`."""

_INACTIVE = 0.5


class Encoding:
    """Maps the configurations of a space to points, similar ones close together.

    A number becomes its place in its range, from 0 to 1, on the scale that it is drawn on, or the middle if
    it is inactive. A name is encoded one-hot, so that two names are 1 apart, as are the ends of a range.

    `size` is the number of hyperparameters that are not fixed, `owners` the hyperparameter of each
    coordinate, numbered from 0.
    """

    def __init__(self, space: Iterable[Hyperparameter]) -> None:
        self._free = [row for row in space if not row.is_fixed]
        self.size = len(self._free)
        widths = [len(_columns(row, [])) for row in self._free]
        self.owners = np.repeat(np.arange(len(widths)), widths)

    def __call__(self, configurations: Iterable[Mapping[str, Any]]) -> Points:
        """Returns a point for each configuration."""
        known = list(configurations)
        columns = [
            column
            for row in self._free
            for column in _columns(
                row, [each.get(row.key) if row.is_active(each) else None for each in known]
            )
        ]
        return np.array(columns, dtype=float).reshape(len(columns), len(known)).T


def _columns(row: Hyperparameter, values: Sequence[Any]) -> list[list[float]]:
    if row.choices is None:
        return [[_INACTIVE if value is None else row.place(value) for value in values]]
    if row.is_ordered:
        ranks = {
            choice: rank / (len(row.choices) - 1) for rank, choice in enumerate(sorted(row.choices))
        }
        return [[ranks.get(value, _INACTIVE) for value in values]]
    return [[math.sqrt(0.5) if value == one else 0.0 for value in values] for one in row.choices]
