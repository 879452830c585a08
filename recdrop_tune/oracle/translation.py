"""Translates spaces and configurations from and to Keras Tuner's forms.

Each direction is one function; everything else uses `Hyperparameter` rows and configurations by key. Only
public parts of Keras Tuner's hyperparameters are used: `name`, `conditions`, `values` and the ends of ranges.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import keras_tuner as kt
import numpy as np

from recdrop_tune.errors import invalid_argument
from recdrop_tune.hyperparameters import (
    Hyperparameter,
    Space,
    Values,
    active_rows,
    parents_first,
)
from recdrop_tune.spaces import plain_names

_types = kt.engine.hyperparameters

Conditions = dict[str, Sequence[Any]]
"""The values that are allowed, by the names of other hyperparameters."""


def read_space(space: Iterable[Any]) -> list[Hyperparameter]:
    """Returns Keras Tuner's hyperparameters as rows, each after those in its conditions.

    Keras Tuner's protocol buffers sort a space by type, children before parents.
    """
    ordered = parents_first(space, lambda hp: hp.name, lambda hp: {c.name for c in hp.conditions})
    conditions: dict[str, Conditions] = {}
    for hp in ordered:
        parents = [conditions.get(condition.name, {}) for condition in hp.conditions]
        own = [{condition.name: condition.values} for condition in hp.conditions]
        # A child is active only if its parents are. So a condition on a key is one on the right parent.
        conditions[hp.name] = _intersected([*parents, *own])
    keys = _keys(conditions)
    rows: list[Hyperparameter] = []
    for hp in ordered:
        when = _intersected({keys.get(n, n): v} for n, v in conditions[hp.name].items())
        rows.append(Hyperparameter(hp.name, keys[hp.name], when=when, **_values(hp)))
    return rows


def read_values(space: Space, values: Mapping[str, Any]) -> Values:
    """Returns the configuration of a Keras Tuner trial from its `hyperparameters.values`.

    These can lack values, and hold values that are inactive.
    """
    read: Values = {}
    for row in space:
        if row.name in values and row.is_active(read):
            read[row.key] = row.exact(values[row.name])
    return read


def write_values(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration as Keras Tuner's `hyperparameters.values`, without inactive ones."""
    return {row.name: values[row.key] for row in active_rows(space, values)}


def configuration(hyperparameters: kt.HyperParameters) -> Values:
    """Returns the configuration of a trial, whichever oracle proposed it."""
    return read_values(read_space(hyperparameters.space), hyperparameters.values)


def with_values(hyperparameters: kt.HyperParameters, values: Mapping[str, Any]) -> Any:
    """Returns a copy of a trial's hyperparameters with another configuration.

    Values that a tuner has added, such as the epochs of Hyperband, stay.
    """
    space = read_space(hyperparameters.space)
    names = {row.name for row in space}
    added = {n: value for n, value in hyperparameters.values.items() if n not in names}
    copied = hyperparameters.copy()
    copied.values = {**write_values(space, values), **added}
    return copied


def active_values(hyperparameters: kt.HyperParameters) -> dict[str, Any]:
    """Returns the active values of a trial by Keras Tuner's names, and those that a tuner has added."""
    values: dict[str, Any] = with_values(hyperparameters, configuration(hyperparameters)).values
    return values


def check_names(space: Iterable[Any]) -> None:
    """Refuses two hyperparameters of one name, under different conditions.

    Keras Tuner keeps one value for a name: if only one of the two is active, it deletes or redraws the value.
    """
    for name, number in Counter(hp.name for hp in space).items():
        if number > 1:
            raise invalid_argument(
                "name",
                expected="hyperparameters with different names",
                received=name,
                fix=f"`{name}` is registered under several conditions, and Keras Tuner keeps one value for a "
                "name. `dropout_rnn` begins the names that it registers with its `name`.",
            )


def _values(hp: Any) -> dict[str, Any]:
    """Returns the choices or the range of one of Keras Tuner's hyperparameters."""
    if isinstance(hp, _types.Fixed):
        return {"choices": [_plain(hp.value)]}
    if not hasattr(hp, "min_value"):
        values = hp.values if isinstance(hp, _types.Choice) else sorted(hp.values)
        return {"choices": [_plain(value) for value in values]}
    number = int if isinstance(hp, _types.Int) else float
    low, high, step = number(hp.min_value), number(hp.max_value), hp.step
    if step is not None and (number is float or hp.sampling != "linear"):
        values = [number(float(f"{value:.12g}")) for value in hp.values]
        if hp.sampling != "linear":  # Optuna has no logarithmic range with a step.
            return {"choices": sorted(values)}
        # Rounding errors can make Keras Tuner end one step before `max_value`; 1 / 3 has other digits.
        low, high = min(values), max(values)
    scale = {"log": hp.sampling != "linear", "mirrored": hp.sampling == "reverse_log"}
    return {"low": low, "high": high, "step": step, **scale}


def _plain(value: Any) -> Any:
    """Returns a NumPy number as one of Python's, which JSON and tables take."""
    return value.item() if isinstance(value, np.generic) else value


def _keys(conditions: Mapping[str, Conditions]) -> dict[str, str]:
    """Returns the key of each hyperparameter: its name without the suffix of a group of wrappers.

    If others with the same key could be active at the same time, the key is the name.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in conditions:
        groups[next(iter(plain_names({name: None})))].append(name)
    keys: dict[str, str] = {}
    for key, names in groups.items():
        pairs = combinations([conditions[name] for name in names], 2)
        alone = all(_exclude(one, other) for one, other in pairs)
        keys |= {name: key if alone else name for name in names}
    return keys


def _exclude(one: Conditions, other: Conditions) -> bool:
    return any(set(one[name]).isdisjoint(other[name]) for name in one.keys() & other.keys())


def _intersected(conditions: Iterable[Conditions]) -> Conditions:
    allowed: Conditions = {}
    for condition in conditions:
        for name, values in condition.items():
            allowed[name] = [value for value in values if value in allowed.get(name, values)]
    return allowed
