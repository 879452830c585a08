"""The keys of a search space, and how each reads a single value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from recdrop_tune.catalog import SCHEDULE_NAMES, SITES, TECHNIQUES

Scalar = str | int | float | bool


class Rejected(Exception):
    """A single value is not what its field takes. It never leaves this package."""


@dataclass(frozen=True)
class Field:
    """How one key of a search space reads a single value.

    Attributes:
        name: The key.
        expected: What a single value may be, for the error message.
        read: Turns what came into the canonical value, or raises `Rejected`.
        kind: Type of the values; only `int` and `float` can have a range.
        words: The values there are, where they are a short list, for "Did you mean".
        schema: What a JSON schema says of a single value beside its type and its words.
    """

    name: str
    expected: str
    read: Callable[[object], Scalar]
    kind: type
    words: tuple[str, ...] = ()
    schema: dict[str, Any] = field(default_factory=dict)


def _word(words: tuple[str, ...]) -> Callable[[object], Scalar]:
    def read(raw: object) -> Scalar:
        if isinstance(raw, str) and raw in words:
            return raw
        raise Rejected

    return read


def number(kind: type, accepts: Callable[[float], bool]) -> Callable[[object], Scalar]:
    number = Integral if kind is int else Real

    def read(raw: object) -> Scalar:
        # `bool` is an `Integral`, but `units: yes` is a slip of the pen.
        if not isinstance(raw, number) or isinstance(raw, bool):
            raise Rejected
        try:
            accepted = accepts(float(raw))
        except OverflowError:  # An integer larger than any float.
            raise Rejected from None
        if not accepted:
            raise Rejected
        value: Scalar = kind(raw)
        return value

    return read


def _flag(raw: object) -> Scalar:
    if isinstance(raw, bool):
        return raw
    raise Rejected


def _placement(raw: object) -> Scalar:
    parts = [part.strip() for part in raw.split("+")] if isinstance(raw, str) else []
    if not parts or len(set(parts)) != len(parts) or not set(parts) <= set(SITES):
        raise Rejected
    return "+".join(site for site in SITES if site in parts)


def _joined_sites() -> list[str]:
    placements = {item: None for spec in TECHNIQUES.values() for item in spec.placements}
    return sorted(placements, key=lambda item: item.count("+"))


def _words(name: str, words: tuple[str, ...]) -> Field:
    return Field(name, f"one of {', '.join(words)}", _word(words), str, words)


def _count(name: str) -> Field:
    # No tensor has more than that of anything, and Keras Tuner loses the digits of larger ones.
    read = number(int, lambda n: 0 < n < 2**31)
    schema = {"minimum": 1, "maximum": 2**31 - 1}
    return Field(name, "an integer > 0 and < 2**31", read, int, schema=schema)


def _yes_or_no(name: str) -> Field:
    return Field(name, "true or false", _flag, bool)


def _rate(name: str) -> Field:
    read = number(float, lambda r: 0 <= r < 1)
    schema = {"minimum": 0, "exclusiveMaximum": 1}
    return Field(name, "a number, 0 <= rate < 1", read, float, schema=schema)


_PLACEMENT = f"one of {', '.join(SITES)}, or several of them joined by +"
_SITE = f"({'|'.join(SITES)})"

FIELDS: dict[str, Field] = {
    spec.name: spec
    for spec in (
        _words("cell", ("lstm", "gru")),
        _count("units"),
        _count("layers"),
        _yes_or_no("bidirectional"),
        _words("wrapper", tuple(TECHNIQUES)),
        Field(
            "placement",
            _PLACEMENT,
            _placement,
            str,
            SITES,
            # An editor completes the words; the pattern takes them in any other order too.
            {
                "anyOf": [
                    {"enum": _joined_sites()},
                    {"pattern": rf"^\s*{_SITE}(\s*\+\s*{_SITE})*\s*$"},
                ]
            },
        ),
        _rate("rate"),
        _words("schedule", SCHEDULE_NAMES),
        _yes_or_no("per_step"),
        _yes_or_no("tied_gates"),
        _count("mask_groups"),
        _rate("hidden_rate"),
        _words("function", ("bernoulli", "gaussian")),
        _rate("locked_rate"),
        _rate("embedding_rate"),
        Field(
            "learning_rate",
            "a number > 0",
            number(float, lambda r: r > 0 and math.isfinite(r)),
            float,
            schema={"exclusiveMinimum": 0},
        ),
    )
}
"""The keys of a search space, in the order in which a Keras Tuner summary lists them."""
