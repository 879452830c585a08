"""The same model in stock Keras layers, for deployment without this package."""

from __future__ import annotations

from typing import Any

import keras

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.errors import invalid_argument
from recdrop_tune.models.layers import check_layer, dropout_layers, walk


def to_plain(model: Any) -> Any:
    """Makes the same model out of stock Keras layers, with the same weights.

    Each dropout wrapper and each `EmbeddingDropout` is replaced by a copy of the layer it wraps, and
    `LockedDropout` by an `Identity`, wherever it stands: in nested models, inside `Bidirectional` or
    `TimeDistributed`. The copy takes the wrapper's name, so `get_layer` finds it where the wrapper was.
    Everything else is copied as it is, other custom layers included. Predictions are the same, and the file
    that `save` writes loads without this package.

    Not kept: what `compile` set (the result is for inference; compile it to train it on, without
    dropout), `use_cudnn` (Keras does not keep it in a layer's configuration), and the current states of
    stateful layers, which start at zero.

    Args:
        model: A Keras model, or a single layer. It is left as it is.

    Returns:
        The model or layer, sharing no variable with the one given.

    Raises:
        InvalidArgumentError: It is not a Keras model or layer, it is one without a configuration, or
            it has zoneout in it: what zoneout computes at inference is no stock layer.

    Example:
        >>> import keras
        >>> from recdrop_tune.models import to_plain
        >>> from recdrop_tune.wrappers import RecurrentDropoutWrapper
        >>> wrapped = RecurrentDropoutWrapper(keras.layers.LSTM(8), rate=0.3)
        >>> type(to_plain(wrapped)).__name__
        'LSTM'
    """
    check_layer(model)
    _check_inference(model)
    own = {keras.saving.get_registered_name(type(layer)) for layer in dropout_layers(model)}
    config = _unwrap(configuration(model, _CONFIGURABLE), own)
    config.pop("compile_config", None)
    # Safe mode guards against code in files; this configuration comes from live objects.
    custom = {type(layer).__name__: type(layer) for layer in walk(model) if is_custom(layer)}
    plain = keras.saving.deserialize_keras_object(config, custom_objects=custom, safe_mode=False)
    _check_rebuilt(model, plain)
    if model.built:
        plain.set_weights(model.get_weights())
    return plain


def _check_inference(model: Any) -> None:
    for layer in dropout_layers(model):
        technique = TECHNIQUES.get(getattr(layer, "technique_id", ""))
        inexact = technique is not None and technique.rate_at_inference
        if inexact and any(layer.configured_rates.values()):
            raise invalid_argument(
                "model",
                expected="a model without zoneout, whose inference no stock Keras layer computes",
                received=layer.name,
                fix="Deploy such a model with this package installed. Rates of 0 would allow it, but "
                "would change its predictions.",
            )


_CONFIGURABLE = "Give the subclass a `get_config` and a `from_config`, as saving a model needs too."


def configuration(model: Any, fix: str) -> dict[str, Any]:
    """Returns a model, or a layer, as Keras writes it down.

    Args:
        model: The model.
        fix: What to do if there is no such description.

    Raises:
        InvalidArgumentError: There is a layer in it without a configuration.
    """
    # Keras has to know the noise functions to write them down, although plain layers have none.
    functions: list[Any] = [getattr(layer, "function", None) for layer in dropout_layers(model)]
    names = {each.__name__: each for each in functions if hasattr(each, "__name__")}
    try:
        with keras.saving.custom_object_scope(names):
            return dict(keras.saving.serialize_keras_object(model))
    except NotImplementedError as error:
        raise invalid_argument(
            "model",
            expected="a model whose layers all have a `get_config`",
            received=model,
            fix=fix,
        ) from error


_IDENTITY: dict[str, Any] = {
    "module": "keras.layers",
    "class_name": "Identity",
    "config": {},
    "registered_name": None,
}
"""What stands, at inference, in the place of a layer that drops and wraps none."""


def _unwrap(config: Any, own: set[str]) -> Any:
    """Replaces, at every depth of a configuration, an own layer by the layer it wraps."""
    if isinstance(config, (list, tuple)):
        return type(config)(_unwrap(part, own) for part in config)
    if not isinstance(config, dict):
        return config
    config = {key: _unwrap(value, own) for key, value in config.items()}
    if config.get("registered_name") not in own:
        return config
    inner = config["config"].get("layer", _IDENTITY)
    renamed = {**inner["config"], "name": config["config"]["name"]}
    if "go_backwards" in config["config"]:  # how a Bidirectional makes its backward layer
        renamed["go_backwards"] = config["config"]["go_backwards"]
    # A functional model's entry also says how the layer is connected: "name", "inbound_nodes".
    return {**config, "build_config": None, **inner, "config": renamed}


def is_custom(layer: Any) -> bool:
    """Says whether the class of a layer is not Keras's own."""
    return not type(layer).__module__.startswith("keras.")


def _check_rebuilt(model: Any, plain: Any) -> None:
    """Refuses a model whose configuration does not hold its layers."""
    same_weights = len(plain.weights) == len(model.weights) if model.built else True
    if dropout_layers(plain) or not same_weights:
        raise invalid_argument(
            "model",
            expected="a model that Keras can rebuild from its configuration, layers and weights",
            received=model,
            fix="Describe it as a Sequential or functional model, or give the subclass a `get_config` that "
            "holds its layers, and a `from_config`.",
        )
