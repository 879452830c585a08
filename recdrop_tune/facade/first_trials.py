"""The configurations that a search tries first: no dropout, and each wrapper once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from recdrop_tune.oracle import NONE, OptunaOracle, is_wrapper
from recdrop_tune.oracle._conditional import (
    HyperParameter,
    grid_values,
    is_fixed,
    middle,
    plain,
    walk,
)

KERAS = "native"
"""Keras's own dropout as a value of `wrapper`."""

# Where in its range the rate of the first trial with a wrapper lies. High rates slow training down and are
# seldom the best (docs/which-dropout.md): a wrapper judged by one of them would be misjudged.
_LOW, _MIDDLE = 0.15, 0.4


def enqueue_first_trials(oracle: Any) -> None:
    """Has no dropout tried first, then Keras's own, then each other wrapper of the space once.

    All else has its middle value, so that these trials differ in their dropout alone and the first of them,
    where the space offers no dropout, is the twin of all others. A wrapper has a low or a middle rate, and
    the placements are spread over the wrappers. What was tried in an earlier session is left out, and
    so are the last wrappers where `max_trials` is too small for all.

    Args:
        oracle: Any oracle; only an `OptunaOracle` takes configurations.
    """
    if not isinstance(oracle, OptunaOracle):
        return
    space = oracle.hyperparameters.space
    tried = {name: _tried(oracle, name) for name in (hp.name for hp in space if _is_searched(hp))}
    for point in first_points(space):
        if any(point[name] not in tried[name] for name in point if name in tried):
            oracle.enqueue(point)


def first_points(space: Sequence[HyperParameter]) -> list[dict[str, Any]]:
    """Lists the configurations that a search tries first, in their order.

    Args:
        space: The hyperparameters of the search.
    """
    wrappers = [hp for hp in space if _is_searched(hp)]
    if not wrappers:
        return []
    points = []
    if all(NONE in hp.values for hp in wrappers):
        points.append(walk(space, _without))
    dropping = {hp.name: _keras_first(hp.values) for hp in wrappers}
    for turn in range(max(map(len, dropping.values()))):
        # A layer with fewer wrappers than another one begins again with its first.
        chosen = {name: values[turn % len(values)] for name, values in dropping.items() if values}
        points.append(walk(space, partial(_covering, chosen, turn)))
    return points


def coverage_line(oracle: Any) -> str | None:
    """Says before a search begins which wrappers it will not try for lack of trials; `None` for none.

    Args:
        oracle: The oracle, not yet asked for a trial.
    """
    limit, space = oracle.max_trials, oracle.hyperparameters.space
    if not isinstance(oracle, OptunaOracle) or limit is None:
        return None
    wrappers = {hp.name: list(hp.values) for hp in space if _is_searched(hp)}
    room = limit - (1 if oracle.twin_last else 0)
    covered = {name: _tried(oracle, name) for name in wrappers}
    left = room - len(oracle.trials)
    points = [p for p in first_points(space) if any(p[n] not in covered[n] for n in wrappers)]
    for point in points[: max(0, left)]:
        for name in wrappers:
            covered[name].add(point[name])
    missed = [
        f"{name.rpartition('wrapper')[0]}{value}"
        for name, values in wrappers.items()
        for value in values
        if value not in covered[name]
    ]
    if not missed:
        return None
    needed = len(oracle.trials) + len(points) + (1 if oracle.twin_last else 0)
    return (
        f"max_trials={limit} is too small to try every wrapper: {', '.join(missed)} may never be tried. "
        f"{needed} trials try each once."
    )


def _tried(oracle: Any, name: str) -> set[Any]:
    values = (trial.hyperparameters.values for trial in oracle.trials.values())
    return {each[name] for each in values if name in each}


def _keras_first(wrappers: Iterable[Any]) -> list[Any]:
    """Lists the wrappers that drop, Keras's own in front: it is what the others are compared with."""
    return sorted((w for w in wrappers if w != NONE), key=lambda wrapper: wrapper != KERAS)


def _without(hp: HyperParameter) -> Any:
    return NONE if is_wrapper(hp.name) else _middle(hp)


def _covering(wrappers: Mapping[str, Any], turn: int, hp: HyperParameter) -> Any:
    """Chooses a value for the trial that tries a wrapper for the first time."""
    if hp.name in wrappers:
        return wrappers[hp.name]
    key = hp.name.rpartition("/")[2].partition(".")[0]
    if key == "placement":
        return list(hp.values)[turn % len(hp.values)]
    if key == "rate" and hasattr(hp, "min_value"):
        return plain(hp, hp.prob_to_value(_MIDDLE if turn % 2 else _LOW))
    if key == "rate":
        rates = sorted(grid_values(hp))
        return rates[round((_MIDDLE if turn % 2 else _LOW) * (len(rates) - 1))]
    return _middle(hp)


def _middle(hp: HyperParameter) -> Any:
    # A rate that moves is no baseline: it stays, where the space offers that.
    if hp.name.rpartition("/")[2] == "schedule" and "constant" in hp.values:
        return "constant"
    return middle(hp)


def _is_searched(hp: HyperParameter) -> bool:
    return is_wrapper(hp.name) and not is_fixed(hp)
