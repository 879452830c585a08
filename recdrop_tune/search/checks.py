"""Checks of the arguments of `fit`, and of the validation data against the objectives."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_tuner as kt

from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.hypermodels import AbstractHyperModel, unextended
from recdrop_tune.problems import suggestion
from recdrop_tune.search.settings import Training

# Parameters of a `fit` that Keras Tuner fills in.
_FILLED_IN = {"self", "hp", "model"}

# They pass everything on to Keras.
_KNOWN_FITS = (kt.HyperModel.fit, AbstractHyperModel.fit)

_COLLECTING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

_ELSEWHERE = {
    "epochs": "`epochs`",
    "batch_size": "`batch_size`",
    "verbose": "`verbose`",
    "callbacks": "`training=rdt.Training(callbacks=...)`",
    "x": "`train`",
    "y": "`train`",
    "validation_data": "`validation`",
}
"""The arguments of `Model.fit` that `tune` takes elsewhere."""


def check_fit_arguments(fit: Mapping[str, Any], model: Any) -> None:
    """Raises for an argument that `fit` does not have, or that `tune` takes elsewhere.

    Args:
        fit: The arguments in `Training.fit`.
        model: The hypermodel. Its `fit` can have further arguments; with `**kwargs` it gets everything.
    """
    model, fits = unextended(model), [keras.Model.fit]
    fits += [type(model).fit] if isinstance(model, kt.HyperModel) else []
    parameters = [each for known in fits for each in inspect.signature(known).parameters.values()]
    rest = any(each.kind is each.VAR_KEYWORD for each in parameters) and fits[-1] not in _KNOWN_FITS
    taken = {each.name for each in parameters if each.kind not in _COLLECTING} - _FILLED_IN
    for name in fit:  # Not their values: they may be data, and fill the screen.
        if name in _ELSEWHERE:
            raise InvalidArgumentError(
                f"Invalid argument `{name}` received in `fit`. Give {_ELSEWHERE[name]} to `tune`."
            )
        if name not in taken and not rest:
            near = suggestion(name, sorted(taken - set(_ELSEWHERE)))
            raise InvalidArgumentError(
                f"Invalid argument `{name}` received in `fit`. Expected an argument of "
                f"`keras.Model.fit`. {near}"
            )


def check_validation(goals: Sequence[Any], validation: Any, training: Training) -> None:
    """Raises for validation data together with folds, and for an objective without validation data.

    Raises:
        InvalidArgumentError: There are two sources of validation data, or none.
    """
    if training.cv is not None and validation is not None:
        expected = "None with `cv`, which takes the validation data from the training data"
        raise invalid_argument("validation", expected=expected, received=type(validation).__name__)
    asked = [goal.name for goal in goals if goal.name.startswith("val_")]
    ways = (validation, training.cv, training.fit.get("validation_split") or None)
    if asked and all(way is None for way in ways):
        raise invalid_argument(
            "validation",
            expected=f"validation data, for the objective is {asked[0]}",
            received=None,
            fix="Pass them; or, with arrays, `training=rdt.Training(cv=5)` or "
            "`training=rdt.Training(fit={'validation_split': 0.2})`; or take another objective.",
        )
