"""Conditional spaces in Optuna's terms: what is asked for only where other parameters have certain values."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from recdrop_tune.errors import invalid_argument

Values = dict[str, Any]
"""The active values of one configuration, by name."""

Key = frozenset[tuple[str, Hashable]]
"""A configuration as a member of sets."""

MAX_LISTED = 2000
"""Longer lists of values or configurations are drawn from, not written down."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a conditional space.

    Args:
        name: Its name, as `trial.suggest_*` is given it.
        distribution: What it is drawn from.
        when: Values by the names of other parameters: it is asked for only where each of these has one of
            its values. By default always.

    Raises:
        InvalidArgumentError: The distribution is none of Optuna's, or `when` has no list of values.

    Example:
        >>> rate = Parameter("rate", FloatDistribution(0.1, 0.5), when={"wrapper": ["recurrent"]})
        >>> rate.is_active({"wrapper": "none"})
        False
    """

    name: str
    distribution: BaseDistribution
    when: Mapping[str, Collection[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = (CategoricalDistribution, FloatDistribution, IntDistribution)
        if not isinstance(self.distribution, known):
            names = ", ".join(each.__name__ for each in known)
            raise invalid_argument(
                "distribution", expected=f"a {names} of Optuna's", received=self.distribution
            )
        listed = isinstance(self.when, Mapping) and all(
            isinstance(each, list | tuple | set | frozenset) for each in self.when.values()
        )
        if not listed:
            raise invalid_argument(
                "when",
                expected="lists of values by the names of other parameters",
                received=self.when,
            )

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Says whether it is asked for, by the values of those that it hangs on."""
        return all(name in values and values[name] in wanted for name, wanted in self.when.items())

    @property
    def is_fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return self.distribution.single()

    @cached_property
    def count(self) -> float:
        """How many values it has; infinitely many on a continuous or logarithmic range."""
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
        """Its values in their order; `None` where there are too many."""
        if self.count > MAX_LISTED:
            return None
        return [self._value(number) for number in range(int(self.count))]

    def at(self, place: float) -> Any:
        """Returns the value at a place: all are as likely if places are from 0 to below 1, and equally."""
        distribution: Any = self.distribution
        if self.count < math.inf:
            return self._value(int(place * self.count))
        low, high = distribution.low, distribution.high
        if isinstance(
            distribution, IntDistribution
        ):  # Each number has as much room as its rounding.
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
    """Rids a value of the noise of floating-point steps: 0.3 for 0.30000000000000004."""
    stepped = isinstance(distribution, FloatDistribution) and distribution.step is not None
    return float(f"{value:.12g}") if stepped else value


def key_of(values: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> Key:
    """Returns a configuration as a member of sets, without what cannot be chosen.

    Args:
        values: The values by name.
        distributions: What each is drawn from.
    """
    return frozenset(
        (name, exact(distributions[name], value))
        for name, value in values.items()
        if not distributions[name].single()
    )


def check_space(space: Any) -> list[Parameter]:
    """Returns a space, parents first.

    Raises:
        InvalidArgumentError: It is no list of `Parameter`s, or one hangs on one that is not in it.
    """
    given = list(space) if isinstance(space, Iterable) else [space]
    for each in given:
        if not isinstance(each, Parameter):
            raise invalid_argument("space", expected="a list of `Parameter`s", received=space)
    known = {each.name for each in given}
    for each in given:
        if unknown := sorted(set(each.when) - known):
            raise invalid_argument(
                "space",
                expected=f"parameters that hang on others of the space, which are {sorted(known)}",
                received=each,
                fix=f"Add {unknown[0]!r} to the space, or correct its name in `when`.",
            )
    return parents_first(given, lambda each: each.when)


Item = TypeVar("Item", bound=Any)


def parents_first(space: Sequence[Item], parents: Callable[[Item], Collection[str]]) -> list[Item]:
    """Orders a space so that every parameter comes after those it hangs on.

    Args:
        space: What has a `name`, in any order.
        parents: Gives the names of those that one hangs on.

    Returns:
        The same; the given order is kept wherever it is possible.
    """
    waiting, ordered = list(space), []
    while waiting:
        names = {each.name for each in waiting}
        ready = [each for each in waiting if names.isdisjoint(parents(each))]
        # Should there be a cycle, its members are never active.
        first = ready[0] if ready else waiting[0]
        ordered.append(first)
        waiting.remove(first)
    return ordered


def combinations(space: Sequence[Parameter]) -> Iterator[Values]:
    """Yields every configuration of a space whose values can be listed, the last parameter varying fastest.

    Args:
        space: The parameters, parents first.
    """
    yield from _combinations(space, 0, {})


def _combinations(space: Sequence[Parameter], first: int, values: Values) -> Iterator[Values]:
    for place in range(first, len(space)):
        each = space[place]
        if each.name not in values and each.is_active(values):
            for value in each.values or ():
                yield from _combinations(space, place + 1, {**values, each.name: value})
            return
    yield values


def infer_space(trials: Sequence[FrozenTrial]) -> list[Parameter]:
    """Infers a conditional space from what finished trials have asked for.

    A parameter that some trials lack hangs on the last one before it whose values tell the trials that have
    it from those that lack it. Where there is none, as where a condition is about a continuous range, it
    counts as always active.

    Args:
        trials: The trials that have ended; one that broke off may not have asked for all.

    Returns:
        The parameters in the order in which they were first asked for.
    """
    seen: dict[str, BaseDistribution] = {}
    for trial in trials:
        seen.update(trial.distributions)  # Of a range that changes the last one counts.
    configurations = [
        {name: exact(seen[name], value) for name, value in trial.params.items()} for trial in trials
    ]
    found: list[Parameter] = []
    for name, distribution in seen.items():
        having = [values for values in configurations if name in values]
        lacking = [values for values in configurations if name not in values]
        found.append(Parameter(name, distribution, _condition(found, having, lacking)))
    return found


def _condition(
    earlier: Sequence[Parameter], having: Sequence[Values], lacking: Sequence[Values]
) -> dict[str, Collection[Any]]:
    """Finds the parameter that tells configurations which have something from those that lack it."""
    for parent in reversed(earlier) if lacking else ():
        name = parent.name
        if parent.values is None or not all(name in values for values in having):
            continue
        on = {values[name] for values in having}
        off = {values[name] for values in lacking if name in values}
        if off and not on & off:
            if not is_ordered(parent):
                return {name: on}
            # Of numbers not seen yet, such as a number of layers, the nearest one tells.
            return {name: {v for v in parent.values if _nearest(v, on | off) in on}}
    return {}


def is_ordered(parameter: Parameter) -> bool:
    """Says whether the values are numbers, and not names."""
    if not isinstance(parameter.distribution, CategoricalDistribution):
        return True
    return all(
        isinstance(value, int | float) and not isinstance(value, bool)
        for value in parameter.distribution.choices
    )


def _nearest(value: float, seen: Collection[float]) -> float:
    return min(seen, key=lambda each: abs(each - value))


def _between(low: float, high: float, place: float) -> float:
    return low + (high - low) * place
