"""The same model in stock Keras layers, for deployment without this package."""

from __future__ import annotations

import re
from typing import Any

import keras

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.errors import invalid_argument
from recdrop_tune.models.adaptation import Adapted, adaptable
from recdrop_tune.models.arguments import check_arguments, not_made, writing_down
from recdrop_tune.models.layers import check_layer, dropout_layers, own_layers, plain_weights, walk
from recdrop_tune.models.masks import hand_on_masks, handing_on_masks, hands_on_masks
from recdrop_tune.models.parts import custom_parts, parts_of_model
from recdrop_tune.wrappers import is_default_name


def to_plain(model: Any) -> Any:
    """Makes the same model out of stock Keras layers, with the same weights.

    Each dropout wrapper, `ActivityDecay` and `EmbeddingDropout` is replaced by a copy of the layer it wraps,
    and `LockedDropout` by an `Identity`, wherever it stands: in nested models, inside `Bidirectional` or
    `TimeDistributed`. Everything else is copied as it is, other custom layers included, and what layers have
    learned by `adapt`. Predictions are the same, and the file that `save` writes loads without this package.

    A name that you gave, to the wrapper or to the layer in it, is the copy's: `get_layer` finds it there as
    it finds the wrapper. Where Keras made the name, the copy is called as its layer was, `lstm` or `gru_1` in
    place of `recurrent_dropout_wrapper`, with another number if a layer beside it has that name.

    Not kept: what `compile` set (the result is for inference; compile it to train it on, without
    dropout and the decays of activations), `use_cudnn` (Keras does not keep it in a layer's configuration),
    and the current states of stateful layers, which start at zero.

    Args:
        model: A Keras model, or a single layer. It is left as it is.

    Returns:
        The model or layer, sharing no variable with the one given.

    Raises:
        InvalidArgumentError: It is not a Keras model or layer, it is one without a configuration or with a
            layer whose configuration lacks an argument or has another function in its place, or it has
            zoneout in it: what zoneout computes at inference is no stock layer.

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
    dropping = own_layers(model)
    own = {keras.saving.get_registered_name(type(layer)) for layer in dropping}
    config = _unwrap(configuration(model, _CONFIGURABLE), own)
    config.pop("compile_config", None)
    custom = custom_parts(layer for layer in walk(model) if layer not in dropping)
    try:
        # Safe mode guards against code in files; this configuration comes from live objects.
        with handing_on_masks():
            plain = keras.saving.deserialize_keras_object(
                config, custom_objects=custom, safe_mode=False
            )
    except Exception as error:  # A user's layer may refuse in any way.
        raise not_made("model", model, parts_of_model(model), error, _CONFIGURABLE) from error
    _check_rebuilt(model, plain)
    if any(map(hands_on_masks, walk(model))):
        hand_on_masks(plain)
    if model.built:
        plain.set_weights([keras.ops.convert_to_numpy(each) for each in plain_weights(model)])
    for layer, copy in zip(adaptable(model), adaptable(plain), strict=True):
        Adapted.of(layer).give(copy)
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
        with keras.saving.custom_object_scope(names), writing_down():
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
    plain = {key: _unwrap(value, own) for key, value in config.items()}
    if config.get("registered_name") not in own:
        return _connected(config, plain) if _holds_layers(config) else plain
    inner = plain["config"].get("layer", _IDENTITY)
    renamed = {**inner["config"], "name": _plain_name(config)}
    if "go_backwards" in plain["config"]:  # how a Bidirectional makes its backward layer
        renamed["go_backwards"] = plain["config"]["go_backwards"]
    # A functional model's entry also says how the layer is connected: "name", "inbound_nodes".
    nodes = plain.get("inbound_nodes")
    if nodes and inner is _IDENTITY:
        plain["inbound_nodes"] = [_without_mask(node) for node in nodes]
    return {**plain, "build_config": None, **inner, "config": renamed}


def _without_mask(node: dict[str, Any]) -> dict[str, Any]:
    """Takes the mask off a call: an `Identity` hands it on, and takes none."""
    return {**node, "kwargs": {k: v for k, v in node["kwargs"].items() if k != "mask"}}


# The names. A functional model says by them how its layers are connected.


def _plain_name(entry: dict[str, Any]) -> str:
    """Returns the name of what takes the place of an own layer: the one given to it, or that of its layer."""
    own, inner = str(entry["config"]["name"]), entry["config"].get("layer")
    direction = next((each for each in ("forward_", "backward_") if own.startswith(each)), "")
    if inner is None or not is_default_name(own.removeprefix(direction), entry["class_name"]):
        return own
    return direction + str(inner["config"]["name"]).removeprefix(direction)


def _holds_layers(config: dict[str, Any]) -> bool:
    """Says whether this is the configuration of a Sequential or functional model."""
    layers = config.get("layers")
    return isinstance(layers, list) and all(_name_of(each) is not None for each in layers)


def _name_of(entry: Any) -> Any:
    config = entry.get("config") if isinstance(entry, dict) else None
    return config.get("name") if isinstance(config, dict) else None


def _connected(config: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """Makes the new names unique in their model, and writes them where its layers are connected.

    Args:
        config: The configuration of the model.
        plain: The same with other layers in the place of own ones.
    """
    pairs = [
        (_name_of(old), _name_of(new))
        for old, new in zip(config["layers"], plain["layers"], strict=True)
    ]
    taken, names = {old for old, new in pairs if old == new}, dict[str, str]()
    for old, new in pairs:
        if old != new:
            names[old] = _free(new, taken)
            taken.add(names[old])
    layers = []
    for (old, _), entry in zip(pairs, plain["layers"], strict=True):
        name = names.get(old, old)
        entry = {**entry, "config": {**entry["config"], "name": name}}
        if "inbound_nodes" in entry:
            entry |= {"name": name, "inbound_nodes": _renamed(entry["inbound_nodes"], names)}
        layers.append(entry)
    ends = [key for key in ("input_layers", "output_layers") if key in plain]
    return {**plain, "layers": layers, **{key: _renamed(plain[key], names) for key in ends}}


def _free(name: str, taken: set[str]) -> str:
    """Returns the name, or one like it that is not taken."""
    stem, number = re.sub(r"_\d+$", "", name), 0
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    return name


def _renamed(nodes: Any, names: dict[str, str]) -> Any:
    """Writes new names into places of tensors: `[name of a layer, number of its call, of its output]`."""
    if isinstance(nodes, dict):
        return {key: _renamed(value, names) for key, value in nodes.items()}
    if not isinstance(nodes, (list, tuple)):
        return nodes
    if [type(part) for part in nodes] == [str, int, int]:
        return [names.get(nodes[0], nodes[0]), *nodes[1:]]
    return type(nodes)(_renamed(part, names) for part in nodes)


def _check_rebuilt(model: Any, plain: Any) -> None:
    """Refuses a model whose configuration does not hold its layers."""
    same_weights = len(plain.weights) == len(plain_weights(model)) if model.built else True
    same_learners = len(adaptable(plain)) == len(adaptable(model))
    if own_layers(plain) or not (same_weights and same_learners):
        raise invalid_argument(
            "model",
            expected="a model that Keras can rebuild from its configuration, layers and weights",
            received=model,
            fix="Describe it as a Sequential or functional model, or give the subclass a `get_config` that "
            "holds its layers, and a `from_config`.",
        )
    # Initializers and the like have done their work: the weights are set.
    check_arguments("model", walk(model), walk(plain))
