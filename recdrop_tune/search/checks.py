"""Checks of the arguments of `tune` that are no settings, and of what two arguments say together."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
from optuna.storages import InMemoryStorage

from recdrop_tune.addresses import check_databases
from recdrop_tune.errors import InvalidArgumentError, check_integer, invalid_argument
from recdrop_tune.hypermodels import AbstractHyperModel, unextended
from recdrop_tune.search.settings import MLflow, Optuna, Training, Workers
from recdrop_tune.search.validation import did_you_mean

# Checks of single arguments that are no settings.


def check_integers(**numbers: Any) -> list[int]:
    """Returns numbers as Python's own integers.

    Raises:
        InvalidArgumentError: One is no integer of at least 1, or too large for a tensor's size.
    """
    return [check_integer(argument, value) for argument, value in numbers.items()]


def expanded(directory: str | os.PathLike[str]) -> Path:
    """Returns a folder with the user's home in the place of `~`.

    Raises:
        InvalidArgumentError: It is in the home of a user whom this machine does not know.
    """
    try:
        return Path(directory).expanduser()
    except RuntimeError as error:
        expected = "a folder; no home is known for the user in it"
        raise invalid_argument("directory", expected=expected, received=str(directory)) from error


def check_directory(directory: Any) -> None:
    """Raises unless the directory is a path, or `None`."""
    if directory is not None and (not isinstance(directory, str | os.PathLike) or directory == ""):
        raise invalid_argument("directory", expected="a path or None", received=directory)


def check_verbose(verbose: Any) -> None:
    """Raises unless the verbosity is a level."""
    if not isinstance(verbose, Integral) or verbose not in (0, 1, 2):
        raise invalid_argument("verbose", expected="0, 1 or 2", received=verbose)


# Checks of what two arguments say together.


def check_workers(workers: Workers | None, optuna: Optuna, tracking: MLflow) -> None:
    """Raises for what several workers cannot have.

    Raises:
        InvalidArgumentError: The study is in the memory of this process, or a machine is to be measured.
    """
    if workers is None:
        return
    if tracking.system_metrics:
        raise invalid_argument(
            "system_metrics",
            expected="False with `workers`: it measures a machine, on which several trials run",
            received=tracking.system_metrics,
        )
    if isinstance(optuna.storage, InMemoryStorage):
        raise invalid_argument(
            "storage",
            expected="one that outlives a process, with `workers`",
            received=type(optuna.storage).__name__,
            fix="Leave it out: the study is made from the trials then. Or pass the URL of a database.",
        )


def check_tuner(name: str, optuna: Optuna, goals: Sequence[Any], uri: str) -> None:
    """Raises for objectives that a tuner cannot keep apart, and for a study in MLflow's database."""
    if len(goals) > 1 and name != "optuna":
        expected = f"one objective with tuner={name!r}, which would add them up"
        raise invalid_argument("objective", expected=expected, received=[g.name for g in goals])
    check_databases(optuna.storage, uri)


# Parameters of a `fit` that Keras Tuner fills in.
_FILLED_IN = {"self", "hp", "model"}

# They hand on what they are given: what Keras does not know is a mistake.
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
"""Arguments of `Model.fit` that `tune` has a place of its own for."""


def check_fit_arguments(fit: Mapping[str, Any], model: Any) -> None:
    """Raises for an argument that no `fit` has, or for which `tune` has another place.

    Args:
        fit: What `Training.fit` says.
        model: The hypermodel; it may have a `fit` with arguments of its own. What one with `**kwargs` takes
            cannot be known: it is given everything.
    """
    model, fits = unextended(model), [keras.Model.fit]
    fits += [type(model).fit] if isinstance(model, kt.HyperModel) else []
    parameters = [each for known in fits for each in inspect.signature(known).parameters.values()]
    rest = any(each.kind is each.VAR_KEYWORD for each in parameters) and fits[-1] not in _KNOWN_FITS
    taken = {each.name for each in parameters if each.kind not in _COLLECTING} - _FILLED_IN
    for name in fit:  # Not their values: they may be data, and fill the screen.
        if name in _ELSEWHERE:
            raise InvalidArgumentError(
                f"Invalid argument `{name}` received in `fit`: `tune` has a place of its own for it. Give "
                f"{_ELSEWHERE[name]} to `tune`."
            )
        if name not in taken and not rest:
            near = did_you_mean(name, sorted(taken - set(_ELSEWHERE)))
            raise InvalidArgumentError(
                f"Invalid argument `{name}` received in `fit`. Expected an argument of "
                f"`keras.Model.fit`. {near}"
            )


def check_validation(goals: Sequence[Any], validation: Any, training: Training) -> None:
    """Raises for validation data beside folds, and where an objective has nothing to be measured on.

    Raises:
        InvalidArgumentError: The data come by two ways, or by none and the objective needs them.
    """
    if training.cv is not None and validation is not None:
        expected = "None beside `cv`, which takes the validation data from the training data"
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
