"""One row per hyperparameter of a search, and functions of lists of rows.

A space is a list of rows, each after those in its conditions. A configuration is a dict of its active values,
and of no others, by key. `recdrop_tune.oracle.translation` has Keras Tuner's and Optuna's forms of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.errors import invalid_argument

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

NONE = "none"
"""The wrapper that drops nothing."""

MAX_LISTED = 2000
"""Longer lists of values or configurations are sampled, not listed."""

Values = dict[str, Any]
"""A configuration: its active values by key."""

Key = frozenset[tuple[str, Hashable]]
"""A configuration as a member of sets."""


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter: a list of choices, or a range from `low` to `high`.

    Attributes:
        name: Its name in Keras Tuner and Optuna, such as `placement.time_distributed-lambda`.
        key: Its name in configurations and tables, such as `placement`; by default the name. Rows with the
            same key have conditions that exclude each other.
        choices: Its values. A fixed hyperparameter has one.
        low: The lower end of its range; an integer for a range of integers.
        high: The upper end; for integers, the last one on a step.
        step: The distance between two values; None for a continuous or logarithmic range. By
            default 1 for integers.
        log: Whether the range is logarithmic.
        mirrored: Whether a logarithmic range is densest at its upper end (Keras Tuner's `reverse_log`).
        when: Lists of values by the keys of earlier rows. It is active if each of these has one of its
            values.

    Example:
        >>> rate = Hyperparameter("rate", low=0.1, high=0.5, step=0.1, when={"wrapper": ["recurrent"]})
        >>> rate.is_active({"wrapper": "none"})
        False
        >>> rate.values
        [0.1, 0.2, 0.3, 0.4, 0.5]
    """

    name: str
    key: str = ""
    choices: Sequence[Any] | None = None
    low: Any = None
    high: Any = None
    step: Any = None
    log: bool = False
    mirrored: bool = False
    when: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ends = self.low, self.high
        if self.choices is None and not (all(map(_is_number, ends)) and self.low <= self.high):
            raise ValueError(f"{self.name!r} has neither choices nor a range")
        if not self.key:
            object.__setattr__(self, "key", self.name)
        if self.is_integer and not self.log:
            step = self.step or 1
            object.__setattr__(self, "step", step)
            # Optuna warns if the step does not divide the range.
            object.__setattr__(self, "high", self.high - (self.high - self.low) % step)

    @property
    def kind(self) -> str:
        """Its kind: `wrapper`, `placement`, `rate` ...; that of `encoder/rate.input` is `rate`."""
        return self.key.rpartition("/")[2].partition(".")[0]

    @property
    def is_wrapper(self) -> bool:
        """Whether it chooses the wrapper of a layer. A user-defined `wrapper` can mean something else."""
        is_named = self.kind == "wrapper" and self.choices is not None
        return is_named and set(self.choices or ()) <= set(TECHNIQUES)

    @property
    def is_integer(self) -> bool:
        """Whether it is a range of integers."""
        return isinstance(self.low, int)

    @property
    def is_fixed(self) -> bool:
        """Whether it has one value."""
        return self.count == 1

    @property
    def is_ordered(self) -> bool:
        """Whether its values are numbers."""
        return all(_is_number(value) for value in self.choices or ())

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Returns whether it is active with the values of earlier rows."""
        # A sampler asks for thousands of candidates: a generator in `all` takes up to three times as long.
        for key, allowed in self.when.items():
            if key not in values or values[key] not in allowed:
                return False
        return True

    @cached_property
    def count(self) -> float:
        """The number of its values; infinite for a continuous or logarithmic range."""
        if self.choices is not None:
            return len(self.choices)
        if self.step is not None:
            # (0.6 - 0.05) / 0.05 is 10.999999999999998, and the upper end is meant.
            return int((self.high - self.low) / self.step + 1e-9) + 1
        return 1 if self.low == self.high else math.inf

    @cached_property
    def values(self) -> list[Any] | None:
        """Its values in order; None if they are more than `MAX_LISTED`."""
        if self.count > MAX_LISTED:
            return None
        return [self._value(number) for number in range(int(self.count))]

    @property
    def middle(self) -> Any:
        """The middle of its range, or of its choices as they were written."""
        if not self.log:
            return self.at(0.5)
        if self.is_integer:
            return self.mirror(math.isqrt(self.low * (self.high + 1)))
        return self.mirror(self.low * math.sqrt(self.high / self.low))

    def at(self, place: float) -> Any:
        """Returns the value at a place from 0 to below 1; uniform places give uniform values."""
        if self.count < math.inf:
            return self._value(min(int(place * self.count), int(self.count) - 1))
        low, high = self.low, self.high
        if not self.log:
            return low + (high - low) * place
        place = 1 - place if self.mirrored else place
        # Each integer has as much room as its rounding.
        room = 0.5 if self.is_integer else 0.0
        begin, end = math.log(low - room), math.log(high + room)
        value: Any = math.exp(begin + (end - begin) * place)
        value = round(value) if self.is_integer else value
        return self.mirror(min(max(value, low), high))

    def place(self, value: Any) -> float:
        """Returns the place of a number in its range, from 0 to 1; numbers outside are at the ends."""
        scale = math.log if self.log else float
        low, high = scale(self.low), scale(self.high)
        inside = min(max(self.mirror(value), self.low), self.high)
        place = (scale(inside) - low) / (high - low)
        return 1 - place if self.mirrored else place

    def mirror(self, value: Any) -> Any:
        """Mirrors a value of a mirrored range, which makes the range logarithmic. Its own inverse."""
        if not self.mirrored:
            return value
        # 0.9 + 0.99 - 0.9 is 0.9900000000000001, which is outside.
        return min(max(self.low + self.high - value, self.low), self.high)

    def exact(self, value: Any) -> Any:
        """Removes the rounding error of a value: 0.3 for 0.30000000000000004, 16 for the integer 16.0."""
        if self.choices is not None:
            return next((choice for choice in self.choices if _is_same(choice, value)), value)
        if not _is_number(value) or self.step is None or self.is_integer:
            return int(value) if self.is_integer and _is_whole(value) else value
        nearest = self._value(round((value - self.low) / self.step))
        return nearest if math.isclose(value, nearest, abs_tol=1e-12) else value

    def contains(self, value: Any) -> bool:
        """Returns whether a value is one of its values, but for rounding errors."""
        value = self.exact(value)
        if self.choices is not None:
            return any(_is_same(choice, value) for choice in self.choices)
        if not _is_number(value) or not self.low <= value <= self.high:
            return False
        if self.is_integer and not _is_whole(value):
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return bool(abs(steps - round(steps)) < 1e-8)

    @cached_property
    def distribution(self) -> BaseDistribution:
        """The Optuna distribution of its values as `mirror` returns them."""
        # Readers of a search need no Optuna, which takes a second to import.
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        if self.choices is not None:
            return CategoricalDistribution(list(self.choices))
        if self.is_integer:
            return IntDistribution(self.low, self.high, log=self.log, step=self.step or 1)
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def describe(self) -> str:
        """Describes its values, such as `from 0.1 to 0.5, in steps of 0.1`."""
        if self.choices is not None:
            return f"{'one of ' * (not self.is_fixed)}{', '.join(map(repr, self.choices))}"
        whole = "a whole number " * self.is_integer
        step = "" if self.step in (None, 1) else f", in steps of {self.step:g}"
        return f"{whole}from {self.low:g} to {self.high:g}{step}"

    def _value(self, number: int) -> Any:
        if self.choices is not None:
            return self.choices[number]
        if self.step is None:
            return self.low
        value = self.low + number * self.step
        return value if self.is_integer else float(f"{value:.12g}")


Space = Sequence[Hyperparameter]
"""The hyperparameters of a search, each after those in its conditions."""


# Configurations.


def walk(space: Space, choose: Callable[[Hyperparameter], Any]) -> Values:
    """Returns the configuration whose active values `choose` returns, earlier rows first."""
    values: Values = {}
    for row in space:
        if row.is_active(values):
            values[row.key] = choose(row)
    return values


def active_rows(space: Space, values: Mapping[str, Any]) -> Iterator[Hyperparameter]:
    """Yields the rows that have a value in a configuration."""
    return (row for row in space if row.key in values and row.is_active(values))


def key_of(values: Mapping[str, Any]) -> Key:
    """Returns a configuration as a member of sets."""
    return frozenset(values.items())


def configurations(space: Space, values: Values | None = None) -> Iterator[Values]:
    """Yields every configuration of a space, given the values of earlier rows; the last varies fastest."""
    values = values or {}
    for place, row in enumerate(space):
        if row.is_active(values):
            for number in range(int(row.count)):
                value = row._value(number)
                yield from configurations(space[place + 1 :], {**values, row.key: value})
            return
    yield values


def count(space: Space, values: Values | None = None) -> Any:
    """Returns the number of configurations, without listing them; infinite for a continuous range.

    `values` are those of earlier rows that others depend on.
    """
    values = values or {}
    total: Any = 1  # Exact for integers of any size.
    parents = {key for row in space for key in row.when}
    for place, row in enumerate(space):
        if not row.is_active(values):
            continue
        if row.key in parents:
            rest = space[place + 1 :]
            named = {v for each in rest for v in each.when.get(row.key, ()) if row.contains(v)}
            counts = [count(rest, {**values, row.key: value}) for value in named]
            if others := row.count - len(named):  # Values that no condition names are alike.
                counts.append(others * count(rest, {**values, row.key: None}))
            return total * sum(counts)
        total *= row.count
    return total


# Dropout.


def wrappers(values: Mapping[str, Any]) -> dict[str, str]:
    """Returns the wrapper of each layer by its key, such as `wrapper` or `enc/wrapper`."""
    named = ((key, value) for key, value in values.items() if key.rpartition("/")[2] == "wrapper")
    # A user-defined hyperparameter of that name can mean something else.
    return {key: value for key, value in named if isinstance(value, str) and value in TECHNIQUES}


def drops(values: Mapping[str, Any]) -> bool:
    """Returns whether a configuration has dropout in any layer."""
    return any(wrapper != NONE for wrapper in wrappers(values).values())


def has_wrapper(values: Mapping[str, Any], wrapper: str) -> bool:
    """Returns whether all layers of a configuration have a given wrapper."""
    return set(wrappers(values).values()) == {wrapper}


def offers_none(space: Space) -> bool:
    """Returns whether a space has wrappers and all of them can be `"none"`, so that it contains twins."""
    offered = [row.choices or () for row in space if row.is_wrapper]
    return bool(offered) and all(NONE in choices for choices in offered)


def offered_wrappers(space: Space) -> dict[str, list[str]]:
    """Returns the wrappers that a space offers, by the key of their hyperparameter."""
    others = {row.key for row in space if not row.is_wrapper}
    offered: dict[str, dict[str, None]] = {}
    for row in space:
        if row.key not in others:
            offered.setdefault(row.key, {}).update(dict.fromkeys(row.choices or ()))
    return {key: list(choices) for key, choices in offered.items()}


def without_dropout(space: Space, values: Mapping[str, Any]) -> Values | None:
    """Returns the twin of a configuration: the same without its dropout. None if it has no wrapper.

    Placement, rate, locked and embedding dropout are inactive without a wrapper. A hyperparameter
    that is active only without dropout gets its middle value. A configuration without dropout is its own
    twin.
    """
    twin = walk(space, lambda row: NONE if row.is_wrapper else values.get(row.key, row.middle))
    return twin if wrappers(twin) else None


def with_dropout(space: Space, values: Mapping[str, Any], donor: Mapping[str, Any]) -> Values:
    """Returns a configuration with the dropout of another one instead of its own."""
    shared = without_dropout(space, values) or {}

    def choose(row: Hyperparameter) -> Any:
        source = donor if row.is_wrapper or row.key not in shared else shared
        return source.get(row.key, NONE if row.is_wrapper else row.middle)

    return walk(space, choose)


def is_twin(without: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Returns whether the first configuration is the second one without its dropout.

    A hyperparameter that is active in only one of them, or `None` in a table, does not count.
    """
    shared = {key for key, value in without.items() if None not in (value, values.get(key))}
    same = all(values[key] == without[key] for key in shared - wrappers(without).keys())
    return has_wrapper(without, NONE) and same


# The order of rows.

Item = TypeVar("Item")


def parents_first(
    items: Iterable[Item], name: Callable[[Item], str], parents: Callable[[Item], Collection[str]]
) -> list[Item]:
    """Orders items so that each comes after those it depends on; keeps the order otherwise."""
    waiting, ordered = list(items), []
    while waiting:
        names = {name(item) for item in waiting}
        ready = [item for item in waiting if names.isdisjoint(parents(item))]
        # Members of a cycle are never active.
        first = ready[0] if ready else waiting[0]
        ordered.append(first)
        waiting.remove(first)
    return ordered


def check_space(space: Iterable[Hyperparameter]) -> list[Hyperparameter]:
    """Returns a space that was written by hand, each row after those in its conditions."""
    rows = list(space)
    known = {row.key for row in rows}
    for row in rows:
        if unknown := sorted(set(row.when) - known):
            raise invalid_argument(
                "space",
                expected=f"hyperparameters that depend on others of the space, which are {sorted(known)}",
                received=row,
                fix=f"Add {unknown[0]!r} to the space, or correct its name in `when`.",
            )
    return parents_first(rows, lambda row: row.key, lambda row: row.when)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and value == round(value)


def _is_same(one: Any, other: Any) -> bool:
    """Returns whether two values are equal; `True` is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
