"""Walks a Keras Tuner hyperparameter space in which some hyperparameters are active only under others.

Only public parts of Keras Tuner's hyperparameters are used: `name`, `conditions`, `values`,
`prob_to_value`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras_tuner as kt

from recdrop_tune.errors import invalid_argument

HyperParameter = Any
"""A hyperparameter of Keras Tuner (`Choice`, `Int`, `Float`, `Boolean`, `Fixed`); it has no types."""

Values = dict[str, Any]
"""The active values of one configuration, by name."""


def parents_first(space: Sequence[HyperParameter]) -> list[HyperParameter]:
    """Orders a space so that every hyperparameter comes after those its conditions name.

    A space that went through Keras Tuner's protocol buffers comes back sorted by type, children
    before parents; drawn in that order the children would never be active.

    Args:
        space: The hyperparameters, in any order.

    Returns:
        The same hyperparameters; the given order is kept wherever it is possible.
    """
    waiting, ordered = list(space), []
    while waiting:
        names = {hp.name for hp in waiting}
        ready = [hp for hp in waiting if not names & {c.name for c in hp.conditions}]
        # Keras Tuner allows no cycle; should one come, its members are inactive anyway.
        first = ready[0] if ready else waiting[0]
        ordered.append(first)
        waiting.remove(first)
    return ordered


def is_active(hp: HyperParameter, values: Mapping[str, Any]) -> bool:
    """Says whether all conditions of a hyperparameter hold for the values drawn so far."""
    return all(condition.is_active(values) for condition in hp.conditions)


def walk(space: Sequence[HyperParameter], choose: Callable[[HyperParameter], Any]) -> Values:
    """Draws one configuration, parents first, and only what is active.

    Args:
        space: The hyperparameters.
        choose: Gives the value of one active hyperparameter that is not fixed.

    Returns:
        The value of every active hyperparameter, the fixed ones included.
    """
    values: Values = {}
    for hp in parents_first(space):
        if hp.name not in values and is_active(hp, values):
            values[hp.name] = hp.value if is_fixed(hp) else choose(hp)
    return values


def combinations(space: Sequence[HyperParameter]) -> Iterator[Values]:
    """Yields every configuration of a space, each once, the last hyperparameter varying fastest.

    Of a range without a step come the ten values that Keras Tuner offers for it.
    """
    yield from _combinations(parents_first(space), {})


def _combinations(ordered: list[HyperParameter], values: Values) -> Iterator[Values]:
    for position, hp in enumerate(ordered):
        if hp.name not in values and is_active(hp, values):
            for value in grid_values(hp):
                yield from _combinations(ordered[position + 1 :], {**values, hp.name: value})
            return
    yield values


def grid_values(hp: HyperParameter) -> list[Any]:
    """Lists the values of a hyperparameter, in order; ten of them for a range without a step."""
    values = [plain(hp, value) for value in hp.values]
    return values if isinstance(hp, kt.engine.hyperparameters.Choice) else sorted(values)


def count_values(hp: HyperParameter) -> float:
    """Counts the values of a hyperparameter, of which there may be too many to list."""
    if is_fixed(hp):
        return 1
    if not hasattr(hp, "min_value"):
        return len(list(hp.values))
    if hp.step is None:
        return math.inf
    if hp.sampling == "linear":
        return float((hp.max_value - hp.min_value) // hp.step + 1)
    return math.log(hp.max_value / hp.min_value, hp.step) // 1 + 1


def is_fixed(hp: HyperParameter) -> bool:
    """Says whether a hyperparameter has one value only, declared by `hp.Fixed`."""
    return isinstance(hp, kt.engine.hyperparameters.Fixed)


def plain(hp: HyperParameter, value: Any) -> Any:
    """Rids a value of the noise of floating-point steps: 0.3 for 0.30000000000000004."""
    if isinstance(hp, kt.engine.hyperparameters.Int):
        return round(value)
    if isinstance(hp, kt.engine.hyperparameters.Float) and hp.step is not None:
        return float(f"{value:.12g}")
    return value


def complete(space: Sequence[HyperParameter], point: Mapping[str, Any]) -> Values:
    """Fills a point up with the middle value of each active hyperparameter that it leaves open.

    Args:
        space: The hyperparameters.
        point: Values by name.

    Returns:
        All active values.

    Raises:
        InvalidArgumentError: The point names a hyperparameter that the space lacks or that is
            inactive there, or gives a value which the space does not offer.
    """
    values = walk(space, lambda hp: _given_or_middle(hp, point))
    for name, value in point.items():
        if name not in values or values[name] != value:
            raise invalid_argument(
                "enqueue",
                expected=f"values of the active hyperparameters {sorted(values)}",
                received=dict(point),
                fix=f"`{name}` is unknown, inactive or fixed otherwise there.",
            )
    return values


def middle(hp: HyperParameter) -> Any:
    """Returns the middle value of a range, or of a list of choices as it was written."""
    return plain(hp, hp.prob_to_value(0.5))


def _given_or_middle(hp: HyperParameter, point: Mapping[str, Any]) -> Any:
    if hp.name not in point:
        return middle(hp)
    value = point[hp.name]
    if not _offers(hp, value):
        raise invalid_argument(
            "enqueue", expected=f"a value that {hp} offers", received=dict(point)
        )
    return value


def _offers(hp: HyperParameter, value: Any) -> bool:
    if not hasattr(hp, "min_value"):
        return value in hp.values
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if hp.step is None:
        return bool(hp.min_value <= value <= hp.max_value)
    return any(math.isclose(value, offered, rel_tol=1e-9) for offered in hp.values)
