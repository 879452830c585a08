"""The fields of a search space's file, and the errors in it: place, expected, received and remedy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

from recdrop_tune.catalog import SCHEDULE_NAMES, SITES, TECHNIQUES
from recdrop_tune.errors import SearchSpaceError, shown

# Collects what is wrong with a search space and says it in one error.

_MOST_LINES = 50


def suggestion(received: object, words: tuple[str, ...], prefix: str = "") -> str:
    """Returns `Did you mean ...?` for a near miss, or an empty string."""
    # Nobody misspells a word by a thousand letters, and comparing takes a time that grows with them.
    word = received.lower() if isinstance(received, str) and len(received) < 100 else ""
    near = get_close_matches(word, words, n=1)
    return f"Did you mean `{prefix}{near[0]}`?" if near else ""


def _name(key: object) -> str:
    return key if isinstance(key, str) and len(key) < 100 else shown(key)


@dataclass
class Report:
    """Collects every problem of one search space, so that the user can mend them in one go.

    Attributes:
        source: The file, preset or dict, as the message is to name it.
        lines: One line a problem.
    """

    source: str
    lines: list[str] = field(default_factory=list)

    def add(self, path: str, expected: str, received: object, fix: str = "") -> None:
        """Notes a bad value, in the wording of `recdrop_tune.errors.invalid_argument`."""
        line = (
            f"Invalid value received for `{path}` in {self.source}. Expected {expected}. "
            f"Received: {path}={shown(received)}"
        )
        self.lines.append(f"{line}. {fix}" if fix else line)

    def add_key(self, path: str, key: object, known: tuple[str, ...]) -> None:
        """Notes a key that does not exist."""
        prefix = f"{path}." if path else ""
        line = (
            f"Invalid key `{prefix}{_name(key)}` in {self.source}. Expected one of {', '.join(known)}. "
            f"Received: {shown(key)}"
        )
        near = suggestion(key, known, prefix)
        self.lines.append(f"{line}. {near}" if near else line)

    def check(self) -> None:
        """Raises one `SearchSpaceError` that holds every problem noted."""
        if self.lines:
            more = len(self.lines) - _MOST_LINES
            rest = [f"... and {more} more problems."] if more > 0 else []
            raise SearchSpaceError("\n".join([*self.lines[:_MOST_LINES], *rest]))


# The keys of a search space, and how each reads a single value.

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
    """Returns what reads a number of a kind that `accepts` takes; it raises `Rejected` of any other."""
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
