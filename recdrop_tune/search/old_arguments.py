"""Answers arguments that `tune`, `distribute` and `track` do not have, or have no more."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from recdrop_tune.errors import InvalidArgumentError, shown
from recdrop_tune.search.settings import CLASSES
from recdrop_tune.search.validation import did_you_mean

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Place:
    """Where the value of an argument of an earlier version goes.

    Attributes:
        argument: The argument.
        field: The name of the value in the settings that the argument takes; `None` where the argument takes
            the value itself.
        key: The name of the value among `Training.fit`, for an argument of `Model.fit`.
    """

    argument: str
    field: str | None = None
    key: str | None = None

    def code(self, value: str) -> str:
        """Writes the argument in Python.

        Example:
            >>> Place("tuner", "sampler").code("'tpe'")
            "tuner=rdt.Optuna(sampler='tpe')"
        """
        if self.key is not None:
            value = f"{{{self.key!r}: {value}}}"
        if self.field is None:
            return f"{self.argument}={value}"
        return f"{self.argument}=rdt.{CLASSES[self.argument].__name__}({self.field}={value})"

    def yaml(self, value: str) -> str:
        """Writes the key of a configuration.

        Example:
            >>> Place("tuner", "sampler").yaml("tpe")
            'tuner: {sampler: tpe}'
        """
        if self.key is not None:
            value = f"{{{self.key}: {value}}}"
        if self.field is None:
            return f"{self.argument}: {value}"
        return f"{self.argument}: {{{self.field}: {value}}}"


PLACES: Mapping[str, Place] = {
    "hypermodel": Place("model"),
    "task": Place("model"),
    "mask_value": Place("model", "mask_value"),
    "metrics": Place("model", "metrics"),
    "loss": Place("model", "loss"),
    "sampler": Place("tuner", "sampler"),
    "pruner": Place("tuner", "pruner"),
    "storage": Place("tuner", "storage"),
    "executions_per_trial": Place("training", "executions"),
    "cv": Place("training", "cv"),
    "groups": Place("training", "groups"),
    "class_weight": Place("training", "class_weight"),
    "early_stopping": Place("training", "early_stopping"),
    "callbacks": Place("training", "callbacks"),
    "keep_checkpoints": Place("training", "keep_checkpoints"),
    "reuse_models": Place("training", "reuse_models"),
    "confirm_seeds": Place("confirm", "seeds"),
    "test": Place("confirm", "test"),
    "gpus_per_trial": Place("workers", "gpus"),
    "cpus_per_trial": Place("workers", "cpus"),
    "ray_address": Place("workers", "address"),
    "trial_timeout": Place("workers", "trial_timeout"),
    "experiment": Place("tracking"),
    "tracking_uri": Place("tracking", "uri"),
    "register_model": Place("tracking", "register_model"),
    "system_metrics": Place("tracking", "system_metrics"),
    "x": Place("train"),
    "y": Place("train"),
    "validation_data": Place("validation"),
}
"""The arguments of earlier versions, and those of `Model.fit` for which `tune` has names of its own."""

FIT_ARGUMENTS = (
    *(
        "validation_split",
        "shuffle",
        "sample_weight",
        "initial_epoch",
        "steps_per_epoch",
    ),
    *("validation_steps", "validation_batch_size", "validation_freq"),
)
"""The arguments of `Model.fit` for which `tune` has no names of its own. (Keras takes seconds to load.)"""


def place_of(name: str) -> Place | None:
    """Finds where the value of an argument goes that `tune` does not have; `None` where nowhere."""
    if name in PLACES:
        return PLACES[name]
    return Place("training", "fit", name) if name in FIT_ARGUMENTS else None


def answers_unknown_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Makes a function say of an argument that it does not have where the value goes, or which is near."""
    known = inspect.signature(function).parameters

    @wraps(function)
    def answering(*args: P.args, **kwargs: P.kwargs) -> R:
        unknown = [name for name in kwargs if name not in known]
        if unknown:
            lines = [_answer(function, name, kwargs[name], known) for name in unknown]
            raise InvalidArgumentError("\n".join(lines))
        return function(*args, **kwargs)

    return answering


def _answer(function: Any, name: str, value: Any, known: Mapping[str, Any]) -> str:
    place = place_of(name)
    if place is None or place.argument not in known:
        near = did_you_mean(name, known)
        return f"`{function.__name__}` has no argument `{name}`. {near}"
    # Anything else may be data, and fill the screen.
    simple = value is None or isinstance(value, str | bool | int | float)
    code = place.code(shown(value) if simple else "...")
    return f"`{function.__name__}` has no argument `{name}`: give `{code}`."
