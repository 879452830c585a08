"""Configurations that the user knows: checked against a space, and filled up where they say not all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner as kt
import numpy as np
import pandas as pd

from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.oracle.conditions import (
    HyperParameter,
    choices,
    in_words,
    is_active,
    is_fixed,
    middle,
    plain,
    walk,
)
from recdrop_tune.oracle.parameters import Values
from recdrop_tune.problems import suggestion
from recdrop_tune.spaces import plain_names

_ARGUMENT = "try_first"


def as_point(values: Mapping[str, Any]) -> Values:
    """Returns a configuration as it is kept: without what it leaves open, in Python's own numbers.

    Args:
        values: Values by name. `None`, NaN and pandas's `NA`, which tables have where a hyperparameter is
            inactive, leave it open.
    """
    return {name: _python(value) for name, value in values.items() if not _is_missing(value)}


def complete(space: Sequence[HyperParameter], point: Mapping[str, Any]) -> Values:
    """Fills a point up with the middle value of each active hyperparameter that it leaves open.

    Args:
        space: The hyperparameters.
        point: Values by name; also by the name that tables have for it (`placement` for the
            `placement.lambda` that is active). See `as_point` for what is left open.

    Returns:
        All active values.

    Raises:
        InvalidArgumentError: The point names a hyperparameter that the space lacks or that is
            inactive there, or gives a value which the space does not offer.
    """
    given = as_point(point)
    values = walk(space, lambda hp: _given_or_middle(hp, given))
    active = {name: hp for hp in _active(space, values) for name in _names(hp)}
    for name, value in given.items():
        if name not in active:
            raise _unknown_or_inactive(space, values, name, point)
        hp = active[name]
        if values[hp.name] != (value if is_fixed(hp) else _offered(hp, value)):
            raise _not_offered(hp, value, point)
    return values


def within(space: Sequence[HyperParameter], point: Mapping[str, Any]) -> Values | None:
    """Returns a configuration of another space by the names of this one; `None` where it lies outside.

    Args:
        space: The hyperparameters.
        point: All active values, by the names of the other space. Its groups of wrappers may be others.
    """
    given = plain_names(point)
    values = walk(space, lambda hp: _offered(hp, given.get(_plain_name(hp))))
    active = {_plain_name(hp): hp for hp in _active(space, values)}
    if set(active) != set(given) or None in values.values():
        return None
    alike = all(values[hp.name] == given[name] for name, hp in active.items() if is_fixed(hp))
    return values if alike else None


def _active(space: Sequence[HyperParameter], values: Values) -> list[HyperParameter]:
    # One name may be asked for in several scopes, with another range in each.
    return [hp for hp in space if hp.name in values and is_active(hp, values)]


def _plain_name(hp: HyperParameter) -> str:
    (name,) = plain_names({hp.name: None})
    return name


def _names(hp: HyperParameter) -> set[str]:
    return {hp.name, _plain_name(hp)}


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _python(value: Any) -> Any:
    """Returns a number of NumPy's, such as tables hold, as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def _given_or_middle(hp: HyperParameter, given: Mapping[str, Any]) -> Any:
    name = hp.name if hp.name in given else _plain_name(hp)
    if name not in given:
        return middle(hp)
    value = _offered(hp, given[name])
    if value is None:
        raise _not_offered(hp, given[name], given)
    return value


def _offered(hp: HyperParameter, value: Any) -> Any | None:
    """Returns a value as the hyperparameter itself has it; `None` where it has no such value."""
    if not hasattr(hp, "min_value"):
        alike = (each for each in hp.values if each == value)
        return next((e for e in alike if isinstance(e, bool) == isinstance(value, bool)), None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(hp, kt.engine.hyperparameters.Int) and value != round(value):
        return None
    if hp.step is None:
        return plain(hp, value) if hp.min_value <= value <= hp.max_value else None
    near = (each for each in hp.values if math.isclose(value, each, rel_tol=1e-9))
    return next((plain(hp, each) for each in near), None)


def _unknown_or_inactive(
    space: Sequence[HyperParameter], values: Values, name: str, point: Mapping[str, Any]
) -> InvalidArgumentError:
    meant = [hp for hp in space if name in _names(hp)]
    if not meant:
        known = list(dict.fromkeys(plain_names({hp.name: None for hp in space})))
        return invalid_argument(
            _ARGUMENT,
            expected=f"values of the hyperparameters {', '.join(known)}",
            received=dict(point),
            fix=f"`{name}` is not among them. {suggestion(name, known)}".strip(),
        )
    conditions = [condition for hp in meant for condition in hp.conditions]
    here = {each.name: values.get(each.name) for each in conditions if each.name in values}
    failing = [each for each in conditions if not each.is_active(values)]
    first = [each for each in failing if each.name == failing[0].name]
    wanted = dict.fromkeys(value for each in first for value in each.values)
    return invalid_argument(
        _ARGUMENT,
        expected="values of hyperparameters that are active together",
        received=dict(point),
        fix=f"`{name}` is inactive with {', '.join(f'{n}={v!r}' for n, v in here.items())}. Leave it out, "
        f"or give {first[0].name} one of {', '.join(map(repr, wanted))}.",
    )


def _not_offered(hp: HyperParameter, value: Any, point: Mapping[str, Any]) -> InvalidArgumentError:
    words = [] if hasattr(hp, "min_value") else [v for v in choices(hp) if isinstance(v, str)]
    return invalid_argument(
        _ARGUMENT,
        expected=f"`{_plain_name(hp)}` to be {in_words(hp)}",
        received=dict(point),
        fix=suggestion(value, words),
    )
