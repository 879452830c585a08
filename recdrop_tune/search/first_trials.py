"""The configurations that a search tries first: no dropout, and each wrapper once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from recdrop_tune.errors import warn_caller
from recdrop_tune.oracle import (
    NONE,
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
"""Tells what is drawn here from what the sampler draws with the same seed."""

# The part of its range that the rate of a wrapper's first trial comes from. High rates slow training down
# and are seldom the best (docs/which-dropout.md): a wrapper judged by one of them would be misjudged.
_HIGHEST = 0.5


def enqueue_first_trials(oracle: Any, known: Iterable[Mapping[str, Any]] = ()) -> None:
    """Makes an oracle try no dropout first, then Keras's own, then each other wrapper of the space once.

    What was tried in an earlier session is left out, and so are the last wrappers where `max_trials` is too
    small for all.

    Args:
        oracle: Any oracle; only an `OptunaOracle` takes configurations.
        known: Configurations of the user's, which come next.

    Raises:
        InvalidArgumentError: One of the user's is none of the space.
    """
    if isinstance(oracle, OptunaOracle):
        for point in (*_missing(oracle), *known):
            oracle.enqueue(point)
        oracle.points_to_try()  # So that a wrong one is refused at once.


def first_points(space: Sequence[HyperParameter], seed: int) -> list[dict[str, Any]]:
    """Lists the configurations that a search tries first, in their order.

    No dropout has the middle value of everything. A wrapper has a rate from the lower half of its range, and
    the placements take turns; all else is spread over its range, so that what the sampler starts from
    tells of the other hyperparameters too.

    Args:
        space: The hyperparameters of the search.
        seed: Seed of the rates, and of what is spread.
    """
    wrappers = [hp for hp in space if _is_searched(hp)]
    if not wrappers:
        return []
    points = []
    if all(NONE in hp.values for hp in wrappers):
        points.append(walk(space, _without))
    dropping = {hp.name: _keras_first(hp.values) for hp in wrappers}
    spread = _Spread(max(map(len, dropping.values())), seed)
    for turn in range(spread.turns):
        # A layer with fewer wrappers than another one begins again with its first.
        chosen = {name: values[turn % len(values)] for name, values in dropping.items() if values}
        points.append(walk(space, partial(spread.choose, chosen, turn)))
    return points


def coverage_line(oracle: Any) -> str | None:
    """Names the wrappers that a search which is about to begin has no trials for; `None` where it has enough.

    Args:
        oracle: The oracle, which has not been asked for a trial yet.
    """
    limit = oracle.max_trials
    if not isinstance(oracle, OptunaOracle) or limit is None:
        return None
    space = oracle.hyperparameters.space
    missing, reserved = _missing(oracle), _reserved(oracle)
    room = max(0, limit - reserved - len(oracle.trials))
    if len(missing) <= room:
        return None
    names = [hp.name for hp in space if _is_searched(hp)]
    tried = {n: _tried(oracle, n) | {p[n] for p in missing[:room] if n in p} for n in names}
    never = [
        f"{name.removesuffix('wrapper')}{point[name]}"
        for point in missing[room:]
        for name in names
        if name in point and point[name] not in tried[name]
    ]
    twin = ", the last of which is the best one without its dropout" if reserved else ""
    needed = len(oracle.trials) + len(missing) + reserved
    return (
        f"max_trials={limit} is too small to try every wrapper, and {', '.join(dict.fromkeys(never))} may "
        f"never be tried. {needed} trials try each once{twin}."
    )


def known_points_line(oracle: Any) -> str | None:
    """Says how many of the user's configurations a search has no trials for; `None` where it has enough.

    Args:
        oracle: The oracle, which has been told of them and not been asked for a trial yet.
    """
    if not isinstance(oracle, OptunaOracle) or oracle.max_trials is None:
        return None
    first = _missing(oracle)
    known = [point for point in oracle.points_to_try() if point not in first]
    needed = len(oracle.trials) + len(first) + len(known) + _reserved(oracle)
    without = min(len(known), needed - oracle.max_trials)
    if without <= 0:
        return None
    return (
        f"max_trials={oracle.max_trials} is too small to try every configuration of try_first after those "
        f"that each search begins with: {without} of {len(known)} may not be tried. {needed} trials try all."
    )


def _reserved(oracle: Any) -> int:
    """Counts the trials that are kept for the twin of the best one."""
    return int(oracle.twin_last and offers_none(oracle.hyperparameters.space))


def warn_if_nothing_is_searched(oracle: Any, space: str) -> None:
    """Warns where a hypermodel of the user's has no hyperparameter with more than one value.

    Args:
        oracle: The oracle; its space is known.
        space: The hypermodel in words.
    """
    asked = oracle.hyperparameters.space
    several = (len(list(islice(hp.values, 2))) > 1 for hp in asked if not is_fixed(hp))
    # One setting of dropout is asked for on purpose.
    if any(map(is_wrapper, asked)) or any(several):
        return
    warn_caller(
        f"Nothing is searched: the {space} asks `hp` for no hyperparameter with more than one value, so all "
        "trials are alike. Give its LSTM and GRU layers a dropout to be searched: "
        "`layer = recdrop_tune.dropout_rnn(hp, layer)`, or at its end "
        "`return recdrop_tune.dropout_model(hp, model)`."
    )


class _Spread:
    """Chooses the values of the first trial of each wrapper.

    Args:
        turns: How many trials there are.
        seed: Seed of what is drawn.
    """

    def __init__(self, turns: int, seed: int) -> None:
        self.turns = turns
        self._random = np.random.default_rng([seed, _STREAM])
        self._begin = int(self._random.integers(2**16))
        self._strata: dict[str, Any] = {}

    def choose(self, wrappers: Mapping[str, Any], turn: int, hp: HyperParameter) -> Any:
        """Chooses the value of one hyperparameter.

        Args:
            wrappers: The wrapper of each layer.
            turn: Which of the trials it is.
            hp: The hyperparameter.
        """
        if hp.name in wrappers:
            return wrappers[hp.name]
        key = hp.name.rpartition("/")[2].partition(".")[0]
        if key == "placement":
            return list(hp.values)[(turn + self._begin) % len(hp.values)]
        if key == "schedule":
            return _middle(hp)
        if key == "rate":
            return plain(hp, hp.prob_to_value(self._random.uniform(0.0, _HIGHEST)))
        if hp.name not in self._strata:
            # One value from each part of the range, in any order: a Latin hypercube.
            self._strata[hp.name] = self._random.permutation(self.turns)
        part = self._strata[hp.name][turn]
        return plain(hp, hp.prob_to_value((part + self._random.uniform(0.0, 1.0)) / self.turns))


def _missing(oracle: OptunaOracle) -> list[dict[str, Any]]:
    """Lists the first configurations whose wrappers no trial has had."""
    space = oracle.hyperparameters.space
    tried = {hp.name: _tried(oracle, hp.name) for hp in space if _is_searched(hp)}
    return [
        point
        for point in first_points(space, oracle.seed)
        # A layer that a point does not have, has no wrapper there.
        if any(point[name] not in values for name, values in tried.items() if name in point)
    ]


def _tried(oracle: Any, name: str) -> set[Any]:
    values = (trial.hyperparameters.values for trial in oracle.trials.values())
    return {each[name] for each in values if name in each}


def _keras_first(wrappers: Iterable[Any]) -> list[Any]:
    """Lists the wrappers that drop, Keras's own in front: it is what the others are compared with."""
    return sorted((w for w in wrappers if w != NONE), key=lambda wrapper: wrapper != KERAS)


def _without(hp: HyperParameter) -> Any:
    return NONE if is_wrapper(hp) else _middle(hp)


def _middle(hp: HyperParameter) -> Any:
    # A rate that moves is no baseline: it stays, where the space offers that.
    if hp.name.rpartition("/")[2] == "schedule" and "constant" in hp.values:
        return "constant"
    return middle(hp)


def _is_searched(hp: HyperParameter) -> bool:
    return is_wrapper(hp) and not is_fixed(hp)
