"""Names and values that MLflow accepts."""

from __future__ import annotations

import hashlib
import math
import posixpath
import re
from collections.abc import Iterable

LONGEST_NAME = 250
LONGEST_PARAMETER = 6000
LONGEST_TAG = 8000
"""Limits of MLflow 3, in characters: the widths of columns in its database."""


def clean(name: str) -> str:
    """Turns the name of a parameter, metric or tag into one that MLflow accepts.

    It refuses most punctuation, paths that lead elsewhere, and very long names.

    Example:
        >>> clean("top 5% [val]"), clean("/a/../b")
        ('top 5_ _val_', 'a/__/b')
    """
    parts = re.sub(r"[^\w\-. :/]", "_", name).split("/")
    parts = [part if part.strip(".") else "_" * len(part) for part in parts if part]
    cleaned = posixpath.normpath("/".join(parts)) if parts else "_"
    return cleaned if len(cleaned) <= LONGEST_NAME else _shortened(cleaned, name)


def clean_names(names: Iterable[str]) -> dict[str, str]:
    """Turns several names into ones that MLflow accepts, and keeps them distinct."""
    names = list(names)
    distinct: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (clean(name) != name, name)):  # Good names stay.
        cleaned = clean(name)
        distinct[name] = _shortened(cleaned, name) if cleaned in distinct.values() else cleaned
    return {name: distinct[name] for name in names}


def parameter(value: object) -> str:
    """Writes the value of a parameter; `n/a` if it is inactive, for MLflow's charts skip runs without it."""
    return _cut("n/a" if value is None else str(value), LONGEST_PARAMETER)


def tag(value: object) -> str:
    """Writes the value of a tag."""
    return _cut(str(value), LONGEST_TAG)


def metric(value: float) -> float:
    """Returns the value of a metric; infinity becomes NaN, for a chart would show nothing else."""
    value = float(value)
    return value if math.isfinite(value) else math.nan


def _shortened(cleaned: str, name: str) -> str:
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{cleaned[: LONGEST_NAME - 9].rstrip('/')}-{mark}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
