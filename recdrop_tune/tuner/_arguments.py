"""The arguments of a tuner and of its search, checked and in one form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from recdrop_tune._arguments import check_integer
from recdrop_tune.errors import invalid_argument
from recdrop_tune.tuner._callbacks import CallbackLike

# What Keras Tuner's own constructor takes and compiles models anew with.
_COMPILING = ("optimizer", "loss", "metrics", "max_model_size")


def named(args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Names the positional arguments of `Model.fit`."""
    return {**kwargs, **dict(zip(("x", "y"), args, strict=False))}


def is_local(oracle: Any) -> bool:
    """Says whether an oracle is here, rather than Keras Tuner's client of one elsewhere."""
    return hasattr(oracle, "trials")


def as_list(callbacks: Any) -> Iterable[CallbackLike]:
    """Returns callbacks as a list: many, one, or none."""
    if callbacks is None:
        return []
    return callbacks if isinstance(callbacks, list | tuple) else [callbacks]


def check_arguments(kwargs: dict[str, Any], keep: int | None, reuse: int) -> None:
    """Checks the arguments of a tuner's constructor.

    Raises:
        InvalidArgumentError: One cannot be worked with.
    """
    for name in _COMPILING:
        if kwargs.get(name) is not None:
            raise invalid_argument(
                name,
                expected="no such argument: models are compiled where they are built",
                received=kwargs[name],
                fix="Call `model.compile(...)` in the function that builds the model.",
            )
    for name, value, least in (("keep_checkpoints", keep, 1), ("reuse_models", reuse, 0)):
        if value is None and name == "keep_checkpoints":
            continue
        check_integer(name, value, least)
