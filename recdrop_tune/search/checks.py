"""Checks of the arguments of `tune`, all made before anything is started."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage

from recdrop_tune.errors import (
    LONGEST_NAME,
    InvalidArgumentError,
    check_flag,
    check_integer,
    invalid_argument,
    is_name,
)
from recdrop_tune.hypermodels import unscheduled
from recdrop_tune.mlflow_store import check_databases
from recdrop_tune.oracle import make_pruner, make_sampler
from recdrop_tune.ray_workers import Resources, check_resources, import_ray, share_gpus
from recdrop_tune.tuner import ORACLES, check_cv

# Checks of single arguments of `tune`: numbers, flags and names.


def check_integers(**numbers: Any) -> list[int]:
    """Returns numbers as Python's own integers.

    Raises:
        InvalidArgumentError: One is no integer of at least 1, or too large for a tensor's size.
    """
    return [check_integer(argument, value) for argument, value in numbers.items()]


def check_flags(**flags: Any) -> None:
    """Raises unless all arguments are true or false: `"no"` would pass for true."""
    for argument, value in flags.items():
        check_flag(argument, value)


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


def check_words(experiment: Any, directory: Any, verbose: Any) -> None:
    """Raises unless the experiment has a name, the directory is a path and the verbosity a level."""
    if not is_name(experiment):
        expected = f"a name of at most {LONGEST_NAME} characters, in one line"
        raise invalid_argument("experiment", expected=expected, received=experiment)
    if directory is not None and (not isinstance(directory, str | os.PathLike) or directory == ""):
        raise invalid_argument("directory", expected="a path or None", received=directory)
    if not isinstance(verbose, Integral) or verbose not in (0, 1, 2):
        raise invalid_argument("verbose", expected="0, 1 or 2", received=verbose)


# Parameters of a `fit` which Keras Tuner fills in, or for which `tune` has a name of its own.
_NOT_PASSED_ON = {"self", "hp", "model", "x", "y", "args", "kwargs"}


def worker_resources(
    workers: Any,
    gpus: Any,
    cpus: Any,
    address: Any,
    trial_timeout: Any,
    *,
    system_metrics: Any,
    storage: Any,
) -> Resources | None:
    """Returns what several workers are given; `None` where there are none.

    Raises:
        InvalidArgumentError: An argument cannot be worked with, or is of use to workers only.
        RecdropError: Ray is not installed.
    """
    if workers is None:
        only = {"gpus_per_trial": gpus, "ray_address": address, "trial_timeout": trial_timeout}
        for argument, value in only.items():
            if value is not None:
                expected = "None without `workers`"
                fix = "Pass the number of trials that run at the same time, such as workers=4."
                raise invalid_argument(argument, expected=expected, received=value, fix=fix)
        check_resources(Resources(1, cpus_per_trial=cpus))
        return None
    check_resources(Resources(workers, gpus, cpus, address, trial_timeout))
    resources = Resources(int(workers), gpus, cpus, address, trial_timeout)
    if system_metrics:
        raise invalid_argument(
            "system_metrics",
            expected="False with `workers`: it measures a machine, on which several trials run",
            received=system_metrics,
        )
    if isinstance(storage, InMemoryStorage):
        raise invalid_argument(
            "storage",
            expected="one that outlives a process, with `workers`",
            received=type(storage).__name__,
            fix="Leave it out for a file in the project folder, or pass the URL of a database.",
        )
    import_ray()
    share_gpus()
    return resources


def check_optuna(tuner: str, options: Mapping[str, Any], goals: Sequence[Any], uri: str) -> None:
    """Raises for an unknown tuner, and for what only Optuna could do or could not.

    Args:
        tuner: Name of the tuner.
        options: `sampler`, `pruner`, `storage` and `timeout`; of no use with other tuners.
        goals: The objectives; several of them only Optuna keeps apart.
        uri: Where MLflow keeps its runs, which cannot be Optuna's database.
    """
    if not isinstance(tuner, str) or tuner not in ORACLES:
        raise invalid_argument("tuner", expected=f"one of {', '.join(ORACLES)}", received=tuner)
    for argument, value in options.items():
        if value is not None and tuner != "optuna":
            expected = f"None with tuner={tuner!r}: it is Optuna's"
            raise invalid_argument(argument, expected=expected, received=f"a {argument}")
    if len(goals) > 1 and tuner != "optuna":
        expected = f"one objective with tuner={tuner!r}, which would add them up"
        raise invalid_argument("objective", expected=expected, received=[g.name for g in goals])
    # These raise for an unknown name.
    if not isinstance(options["sampler"], BaseSampler):
        make_sampler(options["sampler"], 0)
    if not isinstance(options["pruner"], BasePruner):
        make_pruner(options["pruner"])
    storage = options["storage"]
    if storage is not None and not isinstance(storage, str | BaseStorage):
        expected = "the URL of a database, a storage of Optuna's, or None"
        raise invalid_argument("storage", expected=expected, received=storage)
    check_databases(options["storage"], uri)


def check_confirmation(confirm: Any, test: Any) -> None:
    """Raises unless `confirm` is a number of configurations, and test data have a use."""
    check_integer("confirm", confirm, 0)
    if test is not None and not confirm:
        raise invalid_argument(
            "test",
            expected="no test data without a confirmation, which alone looks at them",
            received=type(test).__name__,
            fix="Pass confirm=3 as well.",
        )


def _is_number(value: Any) -> bool:
    # Not in place: for mypy a `Real` cannot be compared. `float(value)` of a huge integer would overflow.
    return isinstance(value, Real)


def proposals(options: Mapping[str, Any], tuner: str) -> dict[str, str]:
    """Names the pruner of a search by what `tune` calls it; the oracle knows its class alone."""
    name = options["pruner"] or "halving"
    return {"pruner": name} if tuner == "optuna" and isinstance(name, str) else {}


def described_cv(cv: Any) -> str | None:
    """Describes cross-validation, so that a folder knows whether it holds the same search."""
    return None if cv is None else str(check_cv(cv))


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
    """Returns the callbacks as a list: many, one, or none; functions that make one are as good.

    Raises:
        InvalidArgumentError: There is something else among them.
    """
    one = isinstance(callbacks, keras.callbacks.Callback) or callable(callbacks)
    many = [callbacks] if one else () if callbacks is None else callbacks
    try:
        listed = list(many)
    except TypeError:
        listed = [many]
    kinds = keras.callbacks.Callback
    if not all(isinstance(callback, kinds) or callable(callback) for callback in listed):
        expected = "keras.callbacks.Callback objects, or functions that make one"
        raise invalid_argument("callbacks", expected=expected, received=callbacks)
    return listed


def validation_data(
    goals: Sequence[Any], validation: Any, fit_kwargs: Mapping[str, Any], cv: Any = None
) -> Any:
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
    check_cv(cv)
    if cv is not None and given is not None:
        expected = "None beside `cv`, which takes the validation data from the training data"
        raise invalid_argument("validation", expected=expected, received=type(given).__name__)
    asked = [goal.name for goal in goals if goal.name.startswith("val_")]
    split = fit_kwargs.get("validation_split")
    if split is not None and not (_is_number(split) and 0 <= split < 1):
        raise invalid_argument("validation_split", expected="0 <= split < 1", received=split)
    if asked and cv is None and given is None and not split:
        raise invalid_argument(
            "validation",
            expected=f"validation data, for the objective is {asked[0]}",
            received=None,
            fix="Pass them, pass `validation_split=0.2` or `cv=5` with arrays, or take another objective.",
        )
    return given
