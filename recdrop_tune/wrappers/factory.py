"""Makes wrappers by the id of their technique."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from recdrop_tune.catalog import DECAYS, technique
from recdrop_tune.errors import format_repr, invalid_argument, suggestion
from recdrop_tune.wrappers.decays import check_decay
from recdrop_tune.wrappers.rates import Rate
from recdrop_tune.wrappers.recurrent_wrapper import ActivityDecay
from recdrop_tune.wrappers.wrapper import Shared


def wrap(
    layer: Any,
    wrapper: str,
    rate: Rate | None = None,
    *,
    placement: str | None = None,
    **options: Any,
) -> Any:
    """Wraps a recurrent layer with the technique of that name.

    Args:
        layer: A `keras.layers.LSTM`, a `GRU`, or a `Bidirectional` of one.
        wrapper: Id of a technique in `recdrop_tune.catalog`, such as `"recurrent"`; or `"none"`.
        rate: Fraction to drop, or a dict with one for each site. Required unless `wrapper` is `"none"` or
            learns its rate; a learned rate then starts at the wrapper's default.
        placement: Where to drop; `None` for the wrapper's default.
        **options: Further arguments of the wrapper's class, such as `per_step=False` or `seed=0`. All
            wrappers, also `"none"`, have `activity_decay` and `temporal_decay`: see `ActivityDecay`.

    Returns:
        The wrapped layer; for `"none"`, `layer` itself, or an `ActivityDecay` around it if it has decays.

    Raises:
        InvalidArgumentError: The name is unknown, or the wrapper does not take an argument.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import wrap
        >>> wrap(keras.layers.LSTM(8), "recurrent", 0.2, placement="input+recurrent").placement
        'input+recurrent'
    """
    class_name = technique(wrapper).class_name
    if class_name is None:
        return _without_dropout(layer, wrapper, placement=placement, rate=rate, **options)
    if rate is None and not technique(wrapper).learns_rate:
        raise invalid_argument(
            "rate", expected=f"0 <= rate < 1 for the wrapper `{wrapper}`", received=rate
        )
    if placement is not None:
        options["placement"] = placement
    # At the call, because the package imports this module.
    cls = getattr(import_module("recdrop_tune.wrappers"), class_name)
    _check_options(wrapper, cls, options)
    return cls(layer, **options) if rate is None else cls(layer, rate=rate, **options)


def _without_dropout(layer: Any, wrapper: str, **given: Any) -> Any:
    """Returns the layer, or an `ActivityDecay` around it if decays are given."""
    decays = {name: check_decay(name, given.pop(name)) for name in DECAYS if name in given}
    decaying = any(decays.values())
    options = {name: value for name, value in given.items() if value is not None}
    if set(options) - set(("name", "dtype", "trainable") if decaying else ()):
        raise invalid_argument(
            "wrapper",
            expected="a wrapper that drops, because of the other arguments",
            received=wrapper,
            fix=f"Remove {format_repr(given)}, or choose another wrapper.",
        )
    return ActivityDecay(layer, **decays, **options) if decaying else layer


def _check_options(wrapper: str, cls: Any, options: dict[str, Any]) -> None:
    known = ["placement", *cls.options, *Shared.__annotations__]
    for option in options:
        if option not in known:
            raise invalid_argument(
                "options",
                expected=f"for the wrapper `{wrapper}` some of {', '.join(known)}",
                received=option,
                fix=suggestion(option, known),
            )
