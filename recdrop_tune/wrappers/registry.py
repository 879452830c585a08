"""Wrappers by name, and as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

import keras

from recdrop_tune.catalog import DECAYS, TECHNIQUES, technique
from recdrop_tune.errors import invalid_argument, shown
from recdrop_tune.wrappers.activity_decay import ActivityDecay
from recdrop_tune.wrappers.decays import check_decay
from recdrop_tune.wrappers.rates import Rate
from recdrop_tune.wrappers.recurrent_wrapper import RecurrentWrapper

_CLASSES = {each.class_name: each.id for each in TECHNIQUES.values() if each.class_name}
"""Ids by the name of the class."""

_OF_LAYERS = ("name", "dtype", "trainable")
"""Arguments that every Keras layer has."""

_CONFIG = "a mapping from `serialize`, or with the arguments of `wrap`"


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
        placement: Where to drop; `None` for the wrapper's default.
        rate: Fraction to drop, or a dict with one for each site. Required unless `wrapper` is `"none"` or
            learns its rate; a learned rate then starts at the wrapper's default.
        **options: Further arguments of the wrapper's class, such as `per_step=False` or `seed=0`. All
            wrappers, also `"none"`, have `activity_decay` and `temporal_decay`: see `ActivityDecay`.

    Returns:
        The wrapped layer; for `"none"`, `layer` itself, or an `ActivityDecay` around it if it has decays.

    Raises:
        InvalidArgumentError: The name is unknown, or the wrapper does not take an argument.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import wrap
        >>> wrap(keras.layers.LSTM(8), "recurrent", placement="input+recurrent", rate=0.2).placement
        'input+recurrent'
    """
    if technique(wrapper).class_name is None:
        return _without_dropout(layer, wrapper, placement=placement, rate=rate, **options)
    if rate is None and not technique(wrapper).learns_rate:
        raise invalid_argument(
            "rate", expected=f"0 <= rate < 1 for the wrapper `{wrapper}`", received=rate
        )
    if placement is not None:
        options["placement"] = placement
    cls = get(wrapper)
    _check_options(wrapper, cls, options)
    return cls(layer, **options) if rate is None else cls(layer, rate=rate, **options)


def _without_dropout(layer: Any, wrapper: str, **given: Any) -> Any:
    """Returns the layer, or an `ActivityDecay` around it if decays are given."""
    decays = {name: check_decay(name, given.pop(name)) for name in DECAYS if name in given}
    decaying = any(decays.values())
    left_out = {name for name in ("placement", "rate") if given[name] is None}
    options = {name: value for name, value in given.items() if name not in left_out}
    if set(options) - set(_OF_LAYERS if decaying else ()):
        raise invalid_argument(
            "wrapper",
            expected="a wrapper that drops, because of the other arguments",
            received=wrapper,
            fix=f"Remove {shown(given)}, or choose another wrapper.",
        )
    return ActivityDecay(layer, **decays, **options) if decaying else layer


def get(identifier: Any) -> Any:
    """Returns the wrapper of a name or a description, as `keras.activations.get` does for activations.

    Args:
        identifier: The id of a technique, such as `"weight_drop"`; a mapping for `deserialize`; or a wrapper
            or its class, which is returned as it is.

    Returns:
        The class for an id, a layer for a mapping.

    Raises:
        InvalidArgumentError: There is no such wrapper. (`"none"` has no class: `wrap(layer, "none")` returns
            the layer itself.)

    Example:
        >>> from recdrop_tune import wrappers
        >>> wrappers.get("weight_drop").__name__
        'WeightDropWrapper'
    """
    is_class = isinstance(identifier, type) and issubclass(identifier, RecurrentWrapper)
    if is_class or isinstance(identifier, RecurrentWrapper):
        return identifier
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    class_name = technique(identifier).class_name
    if class_name is None:
        raise invalid_argument(
            "wrapper",
            expected=f"a wrapper with a class: {', '.join(_CLASSES.values())}",
            received=identifier,
            fix=f'`wrap(layer, "{identifier}")` returns the layer itself.',
        )
    return getattr(import_module("recdrop_tune.wrappers"), class_name)


def serialize(wrapper: RecurrentWrapper) -> dict[str, Any]:
    """Describes a wrapper and its layer as plain data, as `keras.layers.serialize` does.

    Args:
        wrapper: The wrapper. Its weights are not included.

    Returns:
        Dicts, lists, strings, numbers and `None`, for JSON and YAML. `deserialize` and
        `keras.layers.deserialize` turn it into a wrapper.

    Raises:
        InvalidArgumentError: It is not a wrapper, or its noise function is not registered with Keras.

    Example:
        >>> import keras, yaml
        >>> from recdrop_tune import wrappers
        >>> layer = wrappers.WeightDropWrapper(keras.layers.LSTM(8), rate=0.5)
        >>> text = yaml.safe_dump(wrappers.serialize(layer))
        >>> wrappers.get(yaml.safe_load(text)).rate
        0.5
    """
    if not isinstance(wrapper, RecurrentWrapper):
        raise invalid_argument("wrapper", expected="a wrapper of this package", received=wrapper)
    data: dict[str, Any] = _plain(keras.saving.serialize_keras_object(wrapper))
    return data


def deserialize(config: Mapping[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """Makes a wrapper from plain data.

    Args:
        config: The result of `serialize`; or the arguments of `wrap`, written by hand:
            `{"wrapper": "weight_drop", "rate": 0.5, "layer": {"class_name": "LSTM", "config":
            {"units": 8}}}`, where `layer` can also be a Keras layer.
        custom_objects: Classes and functions by name, for Keras.

    Raises:
        InvalidArgumentError: It does not describe a wrapper, lacks the layer, or has a wrong value.

    Example:
        >>> from recdrop_tune import wrappers
        >>> layer = {"class_name": "GRU", "config": {"units": 8}}
        >>> wrappers.deserialize({"wrapper": "zoneout", "rate": 0.1, "layer": layer}).placement
        'recurrent'
    """
    if not isinstance(config, Mapping):
        raise invalid_argument("config", expected=_CONFIG, received=config)
    if "wrapper" in config:
        technique(config["wrapper"])
        arguments = dict(config)
        layer = arguments.pop("layer", None)
        if not isinstance(layer, keras.layers.Layer):
            layer = keras.layers.deserialize(_with_module(layer), custom_objects)
        return wrap(layer, **arguments)
    name = config.get("class_name")
    # For the classes of this package, the bare name is enough.
    registered = config.get("registered_name") or f"recdrop_tune>{name}"
    cls = None
    if isinstance(registered, str):
        cls = keras.saving.get_registered_object(registered, custom_objects)
    if not isinstance(cls, type) or not issubclass(cls, RecurrentWrapper):
        names = ", ".join([*_CLASSES, ActivityDecay.__name__])
        raise invalid_argument(
            "class_name",
            expected=f"one of {names}; or instead `wrapper`, one of {', '.join(TECHNIQUES)}",
            received=name,
        )
    if not isinstance(config.get("config", {}), Mapping):
        raise invalid_argument("config", expected=_CONFIG, received=config["config"])
    inner: dict[str, Any] = dict(config.get("config", {}))
    inner["layer"] = _with_module(inner.get("layer"))
    data = {**config, "registered_name": registered, "config": inner}
    return keras.layers.deserialize(data, custom_objects)


def _with_module(layer: Any) -> dict[str, Any]:
    """Adds the module to the configuration of a Keras layer, which is left out when written by hand."""
    if not isinstance(layer, Mapping) or not isinstance(layer.get("class_name"), str):
        raise invalid_argument(
            "layer",
            expected="the layer to wrap, with `class_name` and `config`",
            received=layer,
            fix="To wrap an existing layer, write `wrap(layer, wrapper, rate=...)`.",
        )
    return {"module": "keras.layers", "config": {}, **layer}


def _plain(value: Any) -> Any:
    """Turns tuples into lists, because JSON and YAML have no tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _check_options(wrapper: str, cls: Any, options: dict[str, Any]) -> None:
    own = list(signature(cls.__init__).parameters)[3:-1]
    known = dict.fromkeys([*own, *DECAYS, *_OF_LAYERS])
    for option in options:
        if option not in known:
            raise invalid_argument(
                "options",
                expected=f"for the wrapper `{wrapper}` some of {', '.join(known)}",
                received=option,
            )
