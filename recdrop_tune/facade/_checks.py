"""Checks of the arguments of `tune`, all made before anything is started."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

import keras
import keras_tuner as kt
from optuna.samplers import BaseSampler

from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.hypermodels._scheduled import unscheduled
from recdrop_tune.oracle._samplers import make_sampler
from recdrop_tune.tracking._uris import check_databases
from recdrop_tune.tuner import ORACLES

# Parameters of a `fit` which Keras Tuner fills in, or for which `tune` has a name of its own.
_NOT_PASSED_ON = {"self", "hp", "model", "x", "y", "args", "kwargs"}


def check_integers(**numbers: Any) -> None:
    """Raises unless all arguments are integers of at least 1; `seed` may be 0 or `None` too."""
    for argument, value in numbers.items():
        least, other = (0, " or None") if argument == "seed" else (1, "")
        if other and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            expected = f"an integer of at least {least}{other}"
            raise invalid_argument(argument, expected=expected, received=value)


def check_words(experiment: Any, directory: Any, verbose: Any) -> None:
    """Raises unless the experiment has a name, the directory is a path and the verbosity a level."""
    if not isinstance(experiment, str) or not experiment.strip():
        raise invalid_argument("experiment", expected="a name", received=experiment)
    if directory is not None and (not isinstance(directory, str | os.PathLike) or directory == ""):
        raise invalid_argument("directory", expected="a path or None", received=directory)
    if not isinstance(verbose, int) or verbose not in (0, 1, 2):
        raise invalid_argument("verbose", expected="0, 1 or 2", received=verbose)


def check_optuna(tuner: str, storage: Any, sampler: Any, uri: str) -> None:
    """Raises for an unknown tuner, and for an Optuna storage or sampler that cannot serve.

    They have no use with other tuners, and Optuna and MLflow cannot share a database.
    """
    if tuner not in ORACLES:
        raise invalid_argument("tuner", expected=f"one of {', '.join(ORACLES)}", received=tuner)
    for argument, value in {"storage": storage, "sampler": sampler}.items():
        if value is not None and tuner != "optuna":
            expected = f"None with tuner={tuner!r}: it is Optuna's"
            raise invalid_argument(argument, expected=expected, received=f"a {argument}")
    if not isinstance(sampler, BaseSampler):
        make_sampler(sampler, 0)  # Raises for an unknown name.
    check_databases(storage, uri)


def check_fit_arguments(
    fit_kwargs: Mapping[str, Any], hypermodel: Any, known: Iterable[str]
) -> None:
    """Raises for an argument that neither `tune` nor a `fit` has.

    Args:
        fit_kwargs: What `tune` was given beside its own arguments.
        hypermodel: The hypermodel; what a `fit` of its own names may be given too.
        known: Names of the arguments of `tune`.
    """
    hypermodel, fits = unscheduled(hypermodel), [keras.Model.fit]
    fits += [type(hypermodel).fit] if isinstance(hypermodel, kt.HyperModel) else []
    taken = {name for fit in fits for name in inspect.signature(fit).parameters} - _NOT_PASSED_ON
    for name in fit_kwargs:
        if name not in taken:
            close = difflib.get_close_matches(name, [*known, *taken], n=1)
            close = ["train"] if name in ("x", "y") else close
            # Not its value: it may be data, and fill the screen.
            raise InvalidArgumentError(
                f"Invalid argument `{name}` received. Expected an argument of `tune` or of "
                f"`keras.Model.fit`.{f' Did you mean `{close[0]}`?' if close else ''}"
            )


def callback_list(callbacks: Any) -> list[Any]:
    """Returns the callbacks as a list: many, one, or none.

    Raises:
        InvalidArgumentError: There is something else among them.
    """
    one = isinstance(callbacks, keras.callbacks.Callback)
    many = [callbacks] if one else () if callbacks is None else callbacks
    listed = list(many) if isinstance(many, Iterable) else [many]
    if not all(isinstance(callback, keras.callbacks.Callback) for callback in listed):
        expected = "keras.callbacks.Callback objects"
        raise invalid_argument("callbacks", expected=expected, received=callbacks)
    return listed


def validation_data(objective: str, validation: Any, fit_kwargs: Mapping[str, Any]) -> Any:
    """Returns the validation data, by whichever of two arguments they came; `None` for none.

    Raises:
        InvalidArgumentError: They came by both, or by none and the objective needs them.
    """
    other = fit_kwargs.get("validation_data")
    if validation is not None and other is not None:
        raise invalid_argument(
            "validation_data", expected="None beside `validation`", received=type(other)
        )
    given = validation if other is None else other
    if objective.startswith("val_") and given is None and not fit_kwargs.get("validation_split"):
        raise invalid_argument(
            "validation",
            expected=f"validation data, for the objective is {objective}",
            received=None,
            fix="Pass them, pass `validation_split=0.2` with arrays, or take another objective.",
        )
    return given
