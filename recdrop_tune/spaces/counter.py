"""Counts the configurations of a search space, by registering it on hyperparameters that only count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from recdrop_tune.spaces.values import Range

Conditions = tuple[tuple[str, tuple[Any, ...]], ...]
"""Names of hyperparameters, and for each the values one of which it must have."""


@dataclass(frozen=True)
class _Counted:
    """One hyperparameter: its values, or only how many; `size` is `None` for a continuum."""

    name: str
    size: int | None
    values: Sequence[Any]
    conditions: Conditions

    def is_active(self, values: dict[str, Any]) -> bool:
        return all(values.get(name) in having for name, having in self.conditions)


class Counter:
    """Stands in for `keras_tuner.HyperParameters` and notes what is registered on it."""

    def __init__(self) -> None:
        self._noted: list[_Counted] = []
        self._scopes: Conditions = ()

    def count(self) -> int | None:
        """Returns how many configurations were registered, `None` where there is a continuum."""
        return self._count(0, {})

    def searched(self) -> list[str]:
        """Lists the names of what was registered with more than one value, in order, each once."""
        return list(dict.fromkeys(noted.name for noted in self._noted if noted.size != 1))

    def _count(self, start: int, values: dict[str, Any]) -> int | None:
        """Counts what the hyperparameters from `start` on can be, given the values of the others."""
        parents = {name for noted in self._noted for name, _ in noted.conditions}
        total = 1
        for position, noted in enumerate(self._noted[start:], start):
            if not noted.is_active(values):
                continue
            if noted.name in parents:
                rest = [
                    self._count(position + 1, {**values, noted.name: value})
                    for value in noted.values
                ]
                return None if None in rest else total * sum(part or 0 for part in rest)
            if noted.size is None:
                return None
            total *= noted.size
        return total

    @contextmanager
    def conditional_scope(self, parent: str, values: Sequence[Any]) -> Iterator[None]:
        """What is registered within is active where `parent` has one of the values."""
        before = self._scopes
        self._scopes = (*before, (parent, tuple(values)))
        yield
        self._scopes = before

    def Fixed(self, name: str, value: Any) -> Any:
        """Notes a fixed value."""
        return self._note(name, 1, [value])

    def Boolean(self, name: str, default: bool) -> Any:
        """Notes a choice of true and false."""
        return self._note(name, 2, [default, not default])

    def Choice(self, name: str, values: Sequence[Any]) -> Any:
        """Notes a choice."""
        return self._note(name, len(values), values)

    def Int(self, name: str, low: int, high: int, step: int | None, sampling: str) -> Any:
        """Notes a range of integers."""
        values = range(low, high + 1, step or 1)
        return self._note(name, len(values), values)

    def Float(self, name: str, low: float, high: float, step: float | None, sampling: str) -> Any:
        """Notes a range of numbers."""
        return self._note(name, Range(min=low, max=high, step=step).size, [low])

    def _note(self, name: str, size: int | None, values: Sequence[Any]) -> Any:
        self._noted.append(_Counted(name, size, values, self._scopes))
        return values[0]
