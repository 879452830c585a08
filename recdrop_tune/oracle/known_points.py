"""Configurations that the user knows: checked against a space, and completed."""

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


def as_point(values: Mapping[str, Any]) -> Values:
    """Returns a configuration as plain Python numbers, without missing values.

    Args:
        values: Values by name, such as a row of a table. Tables have None, NaN and pandas's `NA` where a
            hyperparameter is inactive.
    """
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in values.items()
        if not (value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)))
    }


def complete(space: Sequence[HyperParameter], point: Mapping[str, Any]) -> Values:
    """Completes a point with the middle value of each active hyperparameter that it leaves out.

    Args:
        space: The hyperparameters.
        point: Values by name, or by the name in tables (`placement` for the `placement.lambda` that is
            active).

    Returns:
        All active values.

    Raises:
        InvalidArgumentError: The point names a hyperparameter that the space lacks or that is inactive,
            or has a value which the space does not offer.
    """
    given = as_point(point)

    def not_offered(hp: HyperParameter, value: Any) -> InvalidArgumentError:
        words = [] if hasattr(hp, "min_value") else [v for v in hp.values if isinstance(v, str)]
        expected = f"`{_plain_name(hp)}` to be {in_words(hp)}"
        fix = suggestion(value, words)
        return invalid_argument("try_first", expected=expected, received=dict(point), fix=fix)

    def choose(hp: HyperParameter) -> Any:
        name = hp.name if hp.name in given else _plain_name(hp)
        if name not in given:
            return middle(hp)
        value = _offered(hp, given[name])
        if value is None:
            raise not_offered(hp, given[name])
        return value

    values = walk(space, choose)
    active = _active(space, values)
    by_name = {hp.name: hp for hp in active} | {_plain_name(hp): hp for hp in active}
    for name, value in given.items():
        hp = by_name.get(name)
        if hp is None:
            known = list(dict.fromkeys(map(_plain_name, space)))
            inactive = name in known or any(name == each.name for each in space)
            raise invalid_argument(
                "try_first",
                expected=f"values of the hyperparameters {', '.join(known)}",
                received=dict(point),
                fix=f"`{name}` is inactive with the other values: leave it out, or change them."
                if inactive
                else f"`{name}` is not among them. {suggestion(name, known)}".strip(),
            )
        # A fixed one, or one that is active in two scopes, with another range in each.
        if values[hp.name] != (value if is_fixed(hp) else _offered(hp, value)):
            raise not_offered(hp, value)
    return values


def within(space: Sequence[HyperParameter], point: Mapping[str, Any]) -> Values | None:
    """Returns a configuration of another space by the names of this one; None if it lies outside.

    Args:
        space: The hyperparameters.
        point: All active values, by the names of the other space, whose groups of wrappers can differ.
    """
    given = plain_names(point)
    try:
        values = complete(space, given)
    except InvalidArgumentError:
        return None
    return values if set(map(_plain_name, _active(space, values))) == set(given) else None


def _active(space: Sequence[HyperParameter], values: Values) -> list[HyperParameter]:
    return [hp for hp in space if hp.name in values and is_active(hp, values)]


def _plain_name(hp: HyperParameter) -> str:
    (name,) = plain_names({hp.name: None})
    return name


def _offered(hp: HyperParameter, value: Any) -> Any | None:
    """Returns a value as the hyperparameter itself has it; None if it does not offer it."""
    if not hasattr(hp, "min_value"):
        equal = (each for each in hp.values if each == value)
        return next((e for e in equal if isinstance(e, bool) == isinstance(value, bool)), None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(hp, kt.engine.hyperparameters.Int) and value != round(value):
        return None
    if hp.step is None:
        return plain(hp, value) if hp.min_value <= value <= hp.max_value else None
    near = (each for each in hp.values if math.isclose(value, each, rel_tol=1e-9))
    return next((plain(hp, each) for each in near), None)
