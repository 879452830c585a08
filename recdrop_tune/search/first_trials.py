"""The configurations that a search tries first: no dropout, then each wrapper once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from recdrop_tune.hyperparameters import (
    NONE,
    Hyperparameter,
    Space,
    Values,
    offers_none,
    walk,
)
from recdrop_tune.oracle import OptunaOracle

KERAS = "native"
"""Keras's own dropout as a value of `wrapper`."""

_STREAM = 7
"""Keeps these draws independent of the sampler's draws with the same seed."""

# A wrapper's first rate comes from this part of its range. High rates slow training down and are seldom the
# best (docs/which-dropout.md), so they would make a wrapper look worse than it is.
_HIGHEST = 0.5

# The first values of these come from above this part of their ranges. Dropout pays in models that are large
# enough to overfit, and a low learning rate does not get far in some tens of epochs.
_LOWEST = {"units": 1 / 2, "learning_rate": 1 / 3}


def enqueue_first_trials(oracle: OptunaOracle, known: Iterable[Mapping[str, Any]] = ()) -> None:
    """Makes an oracle try no dropout, Keras's own, each other wrapper of the space once, and then `known`."""
    trials = [oracle.configuration_of(trial) for trial in oracle.trials.values()]
    tried = {
        row.key: {values.get(row.key) for values in trials}
        for row in searched_wrappers(oracle.space)
    }
    missing = [  # Without those that an earlier session tried.
        point
        for point in first_points(oracle.space, oracle.seed)
        # A point without a layer has no wrapper for it.
        if any(point[key] not in tried[key] for key in point.keys() & tried.keys())
    ]
    for point in (*missing, *known):
        oracle.enqueue(point)
    oracle.points_to_try()  # Refuses a wrong one now.


def first_points(space: Space, seed: int) -> list[Values]:
    """Lists what a search tries first: no dropout with middle values, then each wrapper with other values."""
    offered = {row.key: list(row.choices or ()) for row in searched_wrappers(space)}
    if not offered:
        return []
    points = []
    if all(NONE in wrappers for wrappers in offered.values()):
        points.append(walk(space, lambda row: NONE if row.key in offered else row.middle))
    # Keras's own comes first: it is the baseline for the others.
    dropping = {
        key: sorted((w for w in wrappers if w != NONE), key=lambda w: w != KERAS)
        for key, wrappers in offered.items()
    }
    spread = _Spread(max(map(len, dropping.values())), seed)
    for turn in range(spread.turns):
        # A layer with fewer wrappers than another repeats its own.
        chosen = {key: several[turn % len(several)] for key, several in dropping.items() if several}
        points.append(walk(space, partial(spread.choose, chosen, turn)))
    return points


def untried_lines(oracle: OptunaOracle) -> list[str]:
    """Returns a line if `max_trials` may be too small to try all the configurations in the queue."""
    limit, waiting = oracle.max_trials, len(oracle.points_to_try())
    twin = int(oracle.twin_last and offers_none(oracle.space))
    needed = len(oracle.trials) + waiting + twin
    if not waiting or limit is None or needed <= limit:
        return []
    what = "the first configurations, with each wrapper once, and the twin of the best one"
    return [f"max_trials={limit} may be too small: {what} take up to {needed} trials."]


class _Spread:
    """Chooses the values of the first trial of each wrapper; `turns` is the number of these trials."""

    def __init__(self, turns: int, seed: int) -> None:
        self.turns = turns
        self._random = np.random.default_rng([seed, _STREAM])
        self._begin = int(self._random.integers(2**16))
        self._strata: dict[str, Any] = {}

    def choose(self, wrappers: Mapping[str, Any], turn: int, row: Hyperparameter) -> Any:
        """Chooses the value of one hyperparameter in one of the trials, with the wrapper of each layer."""
        if row.key in wrappers:
            return wrappers[row.key]
        if row.is_fixed:
            return row.middle
        if row.kind == "placement" and row.choices:
            return row.choices[(turn + self._begin) % len(row.choices)]
        if row.kind == "cell" and row.choices:
            if row.name not in self._strata:
                # Each of them once, in random order, before any comes again.
                rounds = [self._random.permutation(len(row.choices)) for _ in range(self.turns)]
                self._strata[row.name] = np.concatenate(rounds)
            return row.choices[self._strata[row.name][turn]]
        if row.kind == "rate":
            return _ascending(row, self._random.uniform(0.0, _HIGHEST))
        if row.name not in self._strata:
            # One value from each part of the range, in random order: a Latin hypercube.
            self._strata[row.name] = self._random.permutation(self.turns)
        part = self._strata[row.name][turn]
        place = (part + self._random.uniform(0.0, 1.0)) / self.turns
        if row.kind in _LOWEST:
            return _ascending(row, _LOWEST[row.kind] + (1.0 - _LOWEST[row.kind]) * place)
        return row.at(place)


def searched_wrappers(space: Space) -> list[Hyperparameter]:
    """Returns the rows that choose a wrapper, without fixed ones."""
    return [row for row in space if row.is_wrapper and not row.is_fixed]


def _ascending(row: Hyperparameter, place: float) -> Any:
    """Returns the value at a place; a list can have any order."""
    return sorted(row.choices)[int(place * len(row.choices))] if row.choices else row.at(place)
