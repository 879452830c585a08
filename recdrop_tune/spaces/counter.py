"""Counts the configurations of a search space by registering it on hyperparameters that only count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from recdrop_tune.spaces.values import Range

Conditions = tuple[tuple[str, tuple[Any, ...]], ...]
"""Names of hyperparameters, each with the values that it may have."""


@dataclass(frozen=True)
class _Counted:
    """One hyperparameter; `size` is its number of values, `None` for a continuum."""

    name: str
    size: int | None
    values: Sequence[Any]
    conditions: Conditions


class Counter:
    """Stands in for `keras_tuner.HyperParameters`, which takes seconds to import."""

    def __init__(self) -> None:
        self._registered: list[_Counted] = []
        self._scopes: Conditions = ()

    def count(self) -> int | None:
        """Returns the number of configurations, or `None` for a continuum."""
        return self._count(0, {})

    def searched(self) -> list[str]:
        """Returns the names of the hyperparameters with more than one value, in order, each once."""
        return list(dict.fromkeys(each.name for each in self._registered if each.size != 1))

    def _count(self, start: int, values: dict[str, Any]) -> int | None:
        """Counts the combinations of the hyperparameters from `start` on, given the values before."""
        parents = {name for each in self._registered for name, _ in each.conditions}
        total = 1
        for position, each in enumerate(self._registered[start:], start):
            if not all(values.get(name) in needed for name, needed in each.conditions):
                continue
            if each.name in parents:
                rest = [self._count(position + 1, {**values, each.name: v}) for v in each.values]
                return None if None in rest else total * sum(part or 0 for part in rest)
            if each.size is None:
                return None
            total *= each.size
        return total

    @contextmanager
    def conditional_scope(self, parent: str, values: Sequence[Any]) -> Iterator[None]:
        """Makes what is registered within active only if `parent` has one of the values."""
        before = self._scopes
        self._scopes = (*before, (parent, tuple(values)))
        yield
        self._scopes = before

    def Fixed(self, name: str, value: Any) -> Any:
        """Records a fixed value."""
        return self._record(name, 1, [value])

    def Boolean(self, name: str, default: bool) -> Any:
        """Records a choice of true and false."""
        return self._record(name, 2, [default, not default])

    def Choice(self, name: str, values: Sequence[Any]) -> Any:
        """Records a choice."""
        return self._record(name, len(values), values)

    def Int(self, name: str, low: int, high: int, step: int | None, sampling: str) -> Any:
        """Records a range of integers."""
        values = range(low, high + 1, step or 1)
        return self._record(name, len(values), values)

    def Float(self, name: str, low: float, high: float, step: float | None, sampling: str) -> Any:
        """Records a range of numbers."""
        return self._record(name, Range(min=low, max=high, step=step).size, [low])

    def _record(self, name: str, size: int | None, values: Sequence[Any]) -> Any:
        self._registered.append(_Counted(name, size, values, self._scopes))
        return values[0]
