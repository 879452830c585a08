"""The configurations that a search tries first: no dropout, then each wrapper once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from recdrop_tune.hyperparameters import NONE
from recdrop_tune.oracle import (
    HyperParameter,
    OptunaOracle,
    is_fixed,
    is_wrapper,
    middle,
    offers_none,
    plain,
    walk,
)

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
    """Makes an oracle try no dropout first, then Keras's own, then each other wrapper of the space once.

    Configurations that an earlier session tried are left out. Those of `known` (`try_first`) come next.
    """
    space = oracle.hyperparameters.space
    values = [trial.hyperparameters.values for trial in oracle.trials.values()]
    tried = {hp.name: [each.get(hp.name) for each in values] for hp in space if _is_searched(hp)}
    missing = [
        point
        for point in first_points(space, oracle.seed)
        # A point without a layer has no wrapper for it.
        if any(point[name] not in tried[name] for name in point.keys() & tried.keys())
    ]
    for point in (*missing, *known):
        oracle.enqueue(point)
    oracle.points_to_try()  # Refuses a wrong one now.


def first_points(space: Sequence[HyperParameter], seed: int) -> list[dict[str, Any]]:
    """Lists the configurations that a search tries first, in their order.

    The one without dropout has the middle value of everything. Each wrapper gets a rate from the lower half
    of its range, and the placements take turns. `units` are spread over the upper half of their range,
    `learning_rate` over the upper two thirds, and all other values over their whole ranges, so that the
    sampler learns about them too.
    """
    wrappers = [hp for hp in space if _is_searched(hp)]
    if not wrappers:
        return []
    points = []
    if all(NONE in hp.values for hp in wrappers):
        points.append(walk(space, lambda hp: NONE if is_wrapper(hp) else _middle(hp)))
    # Keras's own comes first: it is the baseline for the others.
    dropping = {
        hp.name: sorted((w for w in hp.values if w != NONE), key=lambda w: w != KERAS)
        for hp in wrappers
    }
    spread = _Spread(max(map(len, dropping.values())), seed)
    for turn in range(spread.turns):
        # A layer with fewer wrappers than another repeats its own.
        chosen = {name: values[turn % len(values)] for name, values in dropping.items() if values}
        points.append(walk(space, partial(spread.choose, chosen, turn)))
    return points


def untried_lines(oracle: OptunaOracle) -> list[str]:
    """Returns a line if `max_trials` may be too small to try all the configurations in the queue."""
    limit, waiting = oracle.max_trials, len(oracle.points_to_try())
    twin = int(oracle.twin_last and offers_none(oracle.hyperparameters.space))
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

    def choose(self, wrappers: Mapping[str, Any], turn: int, hp: HyperParameter) -> Any:
        """Chooses the value of one hyperparameter in one of the trials, with the wrapper of each layer."""
        if hp.name in wrappers:
            return wrappers[hp.name]
        key = hp.name.rpartition("/")[2].partition(".")[0]
        if key == "placement":
            return list(hp.values)[(turn + self._begin) % len(hp.values)]
        if key == "schedule":
            return _middle(hp)
        if key == "cell":
            if hp.name not in self._strata:
                # Each of them once, in random order, before any comes again.
                rounds = [self._random.permutation(len(hp.values)) for _ in range(self.turns)]
                self._strata[hp.name] = np.concatenate(rounds)
            return hp.values[self._strata[hp.name][turn]]
        if key == "rate":
            return plain(hp, hp.prob_to_value(self._random.uniform(0.0, _HIGHEST)))
        if hp.name not in self._strata:
            # One value from each part of the range, in random order: a Latin hypercube.
            self._strata[hp.name] = self._random.permutation(self.turns)
        part = self._strata[hp.name][turn]
        place = (part + self._random.uniform(0.0, 1.0)) / self.turns
        if key in _LOWEST:
            place = _LOWEST[key] + (1.0 - _LOWEST[key]) * place
            if not hasattr(hp, "min_value"):  # A list can have any order.
                return sorted(hp.values)[int(place * len(hp.values))]
        return plain(hp, hp.prob_to_value(place))


def _middle(hp: HyperParameter) -> Any:
    # A changing rate is not a baseline, so the schedule is constant if the space offers that.
    if hp.name.rpartition("/")[2] == "schedule" and "constant" in hp.values:
        return "constant"
    return middle(hp)


def _is_searched(hp: HyperParameter) -> bool:
    return is_wrapper(hp) and not is_fixed(hp)
