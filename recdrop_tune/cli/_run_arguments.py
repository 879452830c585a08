"""Makes the arguments of `tune` of a configuration: imports what it names, and loads the data."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras_tuner as kt

from recdrop_tune.cli._config import Goal
from recdrop_tune.cli._config_file import ConfigFile
from recdrop_tune.cli._references import UserCodeError, call, look_in, resolve


def arguments(file: ConfigFile) -> dict[str, Any]:
    """Returns the arguments of `tune`, but for the space.

    Args:
        file: The configuration.

    Raises:
        UserCodeError: What it names is not there, or has failed.
    """
    look_in(file.path.parent)
    made = {**file.config.given(), "objective": _objective(file.config.objective)}
    if file.config.hypermodel is not None:
        made["hypermodel"] = _hypermodel(file, file.config.hypermodel)
    if file.config.callbacks:
        made["callbacks"] = [
            _resolved(file, name, "callbacks", number)
            for number, name in enumerate(file.config.callbacks)
        ]
    return {**made, **_data(file)}


def _resolved(file: ConfigFile, reference: str, *keys: str | int) -> Any:
    return resolve(reference, file.where(*keys), file.path.parent)


def _objective(given: Any) -> Any:
    if isinstance(given, list):
        return [_objective(each) for each in given]
    return kt.Objective(given.name, given.direction) if isinstance(given, Goal) else given


def _hypermodel(file: ConfigFile, reference: str) -> Any:
    """A build function or a hypermodel; one that is a class is made, as far as it takes no arguments."""
    found = _resolved(file, reference, "hypermodel")
    if isinstance(found, type):
        return call(found, reference, file.where("hypermodel"), file.path.parent)
    return found


def _data(file: ConfigFile) -> dict[str, Any]:
    """The data: what one function returns, or functions, which `tune` and its workers call."""
    given, folder = file.config.data, file.path.parent
    if isinstance(given, str):
        where = file.where("data")
        parts = call(_resolved(file, given, "data"), given, where, folder)
        return _split(parts, f"{where}: `{given}`", bool(file.config.confirm))
    made = {}
    for name, reference in given:
        if reference is not None:
            function = _resolved(file, reference, "data", name)
            made[name] = partial(call, function, reference, file.where("data", name), folder)
    return made


def _split(parts: Any, what: str, confirms: bool) -> dict[str, Any]:
    """Takes what a function has returned for training, validation and test data."""
    several = isinstance(parts, tuple | list) and len(parts) in (2, 3)
    if not several or all(hasattr(part, "shape") for part in parts):
        shapes = ", ".join(type(part).__name__ for part in parts) if several else ""
        raise UserCodeError(
            f"{what} has to return (train, validation) or (train, validation, test), each of them (x, y) or "
            f"a dataset. It returned {f'({shapes})' if several else type(parts).__name__}. A function for "
            "the training data alone goes under `data: {train: ...}`."
        )
    made = dict(zip(("train", "validation", "test"), parts, strict=False))
    if not confirms:  # Test data are for the confirmation, and nothing else.
        made.pop("test", None)
    return made
