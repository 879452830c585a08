"""The hypermodel of a search: the caller's, or one read off the training data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras_tuner as kt

from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.hypermodels._infer import infer_hypermodel
from recdrop_tune.hypermodels._scheduled import unscheduled
from recdrop_tune.spaces import SearchSpace


def as_hypermodel(
    hypermodel: Any, train: Any, validation: Any, space: object
) -> tuple[kt.HyperModel, str]:
    """Returns the hypermodel of a search, and its space in words.

    Args:
        hypermodel: The caller's, or `None` for the one that suits the training data.
        train: The training data.
        validation: The validation data, or `None`; they have to suit an inferred hypermodel.
        space: The search space of an inferred hypermodel.

    Raises:
        InvalidArgumentError: The hypermodel is none, or has a space of its own beside `space`.
    """
    hypermodel = unscheduled(hypermodel)
    if hypermodel is None:
        hypermodel = infer_hypermodel(train, validation, space)
    elif not isinstance(space, str) or space != "quick":
        raise invalid_argument(
            "space",
            expected="no value beside a `hypermodel`, which has a space of its own",
            received=space,
        )
    own = getattr(hypermodel, "space", None)
    if isinstance(own, SearchSpace):
        return hypermodel, own.to_yaml()
    if isinstance(hypermodel, kt.HyperModel):
        return hypermodel, f"hypermodel {_qualified(type(hypermodel))}"
    if callable(hypermodel) and not isinstance(hypermodel, type):
        return FunctionHyperModel(hypermodel), f"function {_qualified(hypermodel)}"
    raise _no_hypermodel(hypermodel)


def _no_hypermodel(received: Any) -> InvalidArgumentError:
    made = isinstance(received, type)
    return invalid_argument(
        "hypermodel",
        expected="a keras_tuner.HyperModel or a function that builds a model from `hp`",
        received=received,
        fix=f"Pass an instance: {received.__name__}(...)." if made else "",
    )


def _qualified(thing: Any) -> str:
    return f"{thing.__module__}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


class FunctionHyperModel(kt.HyperModel):
    """A hypermodel made of a function.

    Args:
        function: Builds a compiled model from `keras_tuner.HyperParameters`.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self._function = function

    def build(self, hp: Any) -> Any:
        """Builds the model."""
        return self._function(hp)
