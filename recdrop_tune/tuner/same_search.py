"""Compares the search in a folder with the one that is to resume there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras_tuner as kt

from recdrop_tune.errors import format_repr
from recdrop_tune.oracle import read_space

_DESCRIBED = ("choices", "low", "high", "step", "log", "mirrored")


def differences(there: Any, now: Any, name: str = "") -> list[str]:
    """Returns a line for each value that differs between two nested mappings of plain values."""
    if isinstance(there, Mapping) and isinstance(now, Mapping):
        return [
            line
            for key in {**there, **now}
            for line in differences(there.get(key), now.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if there == now else [f"  {name}: {format_repr(there)} there, {format_repr(now)} now"]


def space_of(hyperparameters: kt.HyperParameters) -> dict[str, Any]:
    """Describes a search space for `differences`: each hyperparameter by its name and its conditions.

    Keras Tuner resumes with the ranges that a search began with, and does not mention others. Default
    values are left out: they do not change what is searched.
    """
    space: dict[str, Any] = {}
    for row in read_space(hyperparameters.space):
        when = " and ".join(f"{key} in {list(values)}" for key, values in row.when.items())
        described = {name: getattr(row, name) for name in _DESCRIBED}
        space[row.name + f" when {when}" * bool(when)] = described
    return space
