"""Techniques by name."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from typing import Any

from recdrop_tune.catalog import technique
from recdrop_tune.errors import invalid_argument
from recdrop_tune.wrappers._rates import Rate


def wrap(
    layer: Any,
    wrapper: str,
    *,
    placement: str | None = None,
    rate: Rate | None = None,
    **options: Any,
) -> Any:
    """Wraps a recurrent layer with the technique of that name.

    Args:
        layer: A `keras.layers.LSTM`, a `GRU`, or a `Bidirectional` of one.
        wrapper: Id of a technique in `recdrop_tune.catalog`, such as `"recurrent"`; or `"none"`.
        placement: Where to drop; the wrapper's own default if `None`.
        rate: Fraction to drop, or a dict with one for each site; required unless `wrapper` is `"none"`.
        **options: Further arguments of the wrapper's class, e.g. `per_step=False`, `seed=0`.

    Returns:
        The wrapped layer; `layer` itself for `"none"`.

    Raises:
        InvalidArgumentError: The name is unknown, or an argument is not one that the wrapper takes.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import wrap
        >>> wrap(keras.layers.LSTM(8), "recurrent", placement="input+recurrent", rate=0.2).placement
        'input+recurrent'
    """
    class_name = technique(wrapper).class_name
    if class_name is None:
        if placement is not None or rate is not None or options:
            given = {"placement": placement, "rate": rate, **options}
            raise invalid_argument(
                "wrapper",
                expected="a technique that drops, where a placement, a rate or options are given",
                received=wrapper,
                fix=f"Leave these out, or name another wrapper: {given}.",
            )
        return layer
    if rate is None:
        raise invalid_argument(
            "rate", expected=f"0 <= rate < 1 for the wrapper `{wrapper}`", received=rate
        )
    if placement is not None:
        options["placement"] = placement
    cls = getattr(import_module("recdrop_tune.wrappers"), class_name)
    _check_options(wrapper, cls, options)
    return cls(layer, rate=rate, **options)


def _check_options(wrapper: str, cls: Any, options: dict[str, Any]) -> None:
    known = [*list(signature(cls.__init__).parameters)[3:-1], "name", "dtype", "trainable"]
    for option in options:
        if option not in known:
            raise invalid_argument(
                "options",
                expected=f"for the wrapper `{wrapper}` some of {', '.join(known)}",
                received=option,
            )
