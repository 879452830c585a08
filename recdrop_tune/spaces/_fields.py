"""The keys of a search space, and how each reads a single value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real

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
    """

    name: str
    expected: str
    read: Callable[[object], Scalar]
    kind: type
    words: tuple[str, ...] = ()


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
        if isinstance(raw, number) and not isinstance(raw, bool) and accepts(float(raw)):
            value: Scalar = kind(raw)
            return value
        raise Rejected

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


_CELLS = ("lstm", "gru")
_PLACEMENT = f"one of {', '.join(SITES)}, or several of them joined by +"

FIELDS: dict[str, Field] = {
    spec.name: spec
    for spec in (
        Field("cell", f"one of {', '.join(_CELLS)}", _word(_CELLS), str, _CELLS),
        Field("units", "an integer > 0", number(int, lambda n: n > 0), int),
        Field("layers", "an integer > 0", number(int, lambda n: n > 0), int),
        Field("bidirectional", "true or false", _flag, bool),
        Field(
            "wrapper",
            f"one of {', '.join(TECHNIQUES)}",
            _word(tuple(TECHNIQUES)),
            str,
            tuple(TECHNIQUES),
        ),
        Field("placement", _PLACEMENT, _placement, str, SITES),
        Field("rate", "a number, 0 <= rate < 1", number(float, lambda r: 0 <= r < 1), float),
        Field(
            "schedule",
            f"one of {', '.join(SCHEDULE_NAMES)}",
            _word(SCHEDULE_NAMES),
            str,
            SCHEDULE_NAMES,
        ),
        Field(
            "learning_rate",
            "a number > 0",
            number(float, lambda r: r > 0 and math.isfinite(r)),
            float,
        ),
    )
}
"""The keys of a search space, in the order in which a Keras Tuner summary lists them."""
