"""Conditional spaces in Optuna's terms: their parameters, the candidates for a trial, and their distances."""

from __future__ import annotations

import math
from collections.abc import (
    Callable,
    Collection,
    Container,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from recdrop_tune.errors import invalid_argument

Values = dict[str, Any]
"""The active values of one configuration, by name."""

Key = frozenset[tuple[str, Hashable]]
"""A configuration as a member of sets."""

MAX_LISTED = 2000
"""Longer lists of values or configurations are sampled, not listed."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a conditional space.

    Args:
        name: Its name, as in `trial.suggest_*`.
        distribution: The Optuna distribution that it is drawn from.
        when: Lists of values by the names of other parameters. It is active if each of these has one of its
            values. By default it always is.

    Example:
        >>> rate = Parameter("rate", FloatDistribution(0.1, 0.5), when={"wrapper": ["recurrent"]})
        >>> rate.is_active({"wrapper": "none"})
        False
    """

    name: str
    distribution: BaseDistribution
    when: Mapping[str, Collection[Any]] = field(default_factory=dict)

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Returns whether it is active with the given values of other parameters."""
        return all(name in values and values[name] in wanted for name, wanted in self.when.items())

    @property
    def is_fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return self.distribution.single()

    @cached_property
    def count(self) -> float:
        """The number of its values; infinite on a continuous or logarithmic range."""
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return len(choices)
            case IntDistribution(low=low, high=high, step=step, log=False):
                return (high - low) // step + 1
            case FloatDistribution(low=low, high=high, step=float(step)):
                return round((high - low) / step) + 1
        return 1 if self.is_fixed else math.inf

    @cached_property
    def values(self) -> list[Any] | None:
        """Its values in their order; None if there are too many."""
        if self.count > MAX_LISTED:
            return None
        return [self._value(number) for number in range(int(self.count))]

    def at(self, place: float) -> Any:
        """Returns the value at a place from 0 to below 1; uniform places give uniform values."""
        distribution: Any = self.distribution
        if self.count < math.inf:
            return self._value(int(place * self.count))
        low, high = distribution.low, distribution.high
        # Each number has as much room as its rounding.
        if isinstance(distribution, IntDistribution):
            drawn = round(math.exp(_between(math.log(low - 0.5), math.log(high + 0.5), place)))
            return min(max(drawn, low), high)
        if distribution.log:
            return min(max(math.exp(_between(math.log(low), math.log(high), place)), low), high)
        return _between(low, high, place)

    def _value(self, number: int) -> Any:
        distribution: Any = self.distribution
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices[number]
        if self.is_fixed:
            return distribution.low
        return exact(distribution, distribution.low + number * distribution.step)


def exact(distribution: BaseDistribution, value: Any) -> Any:
    """Removes the rounding error of steps from a value: 0.3 for 0.30000000000000004."""
    stepped = isinstance(distribution, FloatDistribution) and distribution.step is not None
    return float(f"{value:.12g}") if stepped else value


def key_of(values: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> Key:
    """Returns a configuration as a member of sets, without the parameters that have one value."""
    return frozenset(
        (name, exact(distributions[name], value))
        for name, value in values.items()
        if not distributions[name].single()
    )


def check_space(space: Iterable[Parameter]) -> list[Parameter]:
    """Returns a space, parents first.

    Raises:
        InvalidArgumentError: A parameter depends on one that is not in the space, so it would never be
            active.
    """
    given = list(space)
    known = {each.name for each in given}
    for each in given:
        if unknown := sorted(set(each.when) - known):
            raise invalid_argument(
                "space",
                expected=f"parameters that depend on others of the space, which are {sorted(known)}",
                received=each,
                fix=f"Add {unknown[0]!r} to the space, or correct its name in `when`.",
            )
    return parents_first(given, lambda each: each.when)


Item = TypeVar("Item", bound=Any)


def parents_first(space: Sequence[Item], parents: Callable[[Item], Collection[str]]) -> list[Item]:
    """Orders a space so that every parameter comes after those it depends on; keeps the order otherwise."""
    waiting, ordered = list(space), []
    while waiting:
        names = {each.name for each in waiting}
        ready = [each for each in waiting if names.isdisjoint(parents(each))]
        # Members of a cycle are never active.
        first = ready[0] if ready else waiting[0]
        ordered.append(first)
        waiting.remove(first)
    return ordered


def combinations(space: Sequence[Parameter], values: Values | None = None) -> Iterator[Values]:
    """Yields every configuration of a space, parents first; the last parameter varies fastest.

    `values` are those of earlier parameters.
    """
    values = values or {}
    for place, each in enumerate(space):
        if each.name not in values and each.is_active(values):
            for value in each.values or ():
                yield from combinations(space[place + 1 :], {**values, each.name: value})
            return
    yield values


def is_ordered(parameter: Parameter) -> bool:
    """Returns whether the values are numbers."""
    if not isinstance(parameter.distribution, CategoricalDistribution):
        return True
    return all(
        isinstance(value, int | float) and not isinstance(value, bool)
        for value in parameter.distribution.choices
    )


def _between(low: float, high: float, place: float) -> float:
    return low + (high - low) * place


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
        """Lists candidates whose keys are not among those `tried`; none if all have been."""
        offered = self._all
        if offered is None:
            changed = [best[turn % len(best)] for turn in range(_CHANGED)] if best else []
            drawn = [self._draw({}, random) for _ in range(_DRAWN)]
            drawn += [self._change(values, random) for values in changed]
            offered = [(self.key(values), values) for values in drawn]
        return [values for key, values in offered if key not in tried]

    def draw(self, tried: Container[Key], random: np.random.Generator) -> Values | None:
        """Draws a configuration at random; None if all have been tried."""
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
        owners: The parameter of each coordinate, numbered from 0.
    """

    def __init__(self, space: Iterable[Parameter]) -> None:
        self._free = {each.name: each for each in space if not each.is_fixed}
        self.size = len(self._free)
        widths = [len(_columns(each, [])) for each in self._free.values()]
        self.owners = np.repeat(np.arange(len(widths)), widths)

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
    return [[math.sqrt(0.5) if v == one else 0.0 for v in values] for one in choices]
