"""The arguments of a tuner and of its search, checked and in one form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from recdrop_tune._arguments import check_integer
from recdrop_tune.tuner._callbacks import CallbackLike


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


def check_arguments(keep: int | None, reuse: int) -> None:
    """Checks the arguments of a tuner that Keras Tuner's has not.

    Raises:
        InvalidArgumentError: One cannot be worked with.
    """
    if keep is not None:
        check_integer("keep_checkpoints", keep, 1)
    check_integer("reuse_models", reuse, 0)
