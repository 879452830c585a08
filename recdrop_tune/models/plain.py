"""The same model in stock Keras layers, for deployment without this package."""

from __future__ import annotations

import re
from itertools import chain, count
from typing import Any

import keras

from recdrop_tune.errors import invalid_argument
from recdrop_tune.models.copies import (
    copy_bidirectional,
    copy_layer,
    copy_model,
    copy_weights,
    is_ours,
    not_copied,
)
from recdrop_tune.models.layers import check_layer, dropout_layers, own_layers, walk
from recdrop_tune.models.masks import pass_masks, passes_masks
from recdrop_tune.wrappers import AbstractDropoutWrapper, is_default_name


def to_plain(model: Any, *, use_cudnn: bool | str = "auto") -> Any:
    """Returns the same model in stock Keras layers, with the same weights and predictions.

    Dropout wrappers, `ActivityDecay` and `EmbeddingDropout` become the layer that they wrap,
    `LockedDropout` an `Identity`. Everything else is copied. The saved file loads without this package.

    Names that you gave are kept. A wrapper with a name from Keras gets the name of its layer, such as
    `lstm`.

    Args:
        model: A Sequential or functional model, or a layer. It does not change. The result is not compiled.
        use_cudnn: Keras's `use_cudnn` for every LSTM and GRU of the copy, on both sides of a `Bidirectional`
            too. `False` is for formats that cannot hold cuDNN's op, such as ONNX. Export the copy itself: a
            `.keras` file does not keep this setting.

    Raises:
        InvalidArgumentError: It is a subclassed model, or zoneout or `update` changes its predictions; or
            `use_cudnn` is not one of Keras's values.

    Example:
        >>> import keras
        >>> from recdrop_tune.models import to_plain
        >>> from recdrop_tune.wrappers import RecurrentDropoutWrapper
        >>> wrapped = RecurrentDropoutWrapper(keras.layers.LSTM(8), rate=0.3)
        >>> type(to_plain(wrapped)).__name__
        'LSTM'
    """
    check_layer(model)
    if use_cudnn not in ("auto", True, False):
        expected = "'auto', True or False"
        raise invalid_argument("use_cudnn", expected=expected, received=use_cudnn)
    for layer in dropout_layers(model):
        expects = isinstance(layer, AbstractDropoutWrapper) and layer.inference_rewrite()
        if expects and any(layer.configured_rates.values()):
            raise invalid_argument(
                "model",
                expected=f"a model without `{layer.technique_id}`, whose inference no stock layer computes",
                received=layer.name,
                fix="Deploy it with this package installed.",
            )
    names = plain_names(model)
    plain = copy_model(model, lambda layer: plain_layer(layer, names), call=_call)
    if model.built and not plain.built:  # A layer alone.
        plain.build_from_config(model.get_build_config())
    if any(map(passes_masks, walk(model))):
        pass_masks(plain)
    copy_weights(model, plain)
    for layer in walk(plain):
        if isinstance(layer, keras.layers.LSTM | keras.layers.GRU):
            layer.use_cudnn = use_cudnn
    return plain


def plain_layer(layer: Any, names: dict[int, str]) -> Any:
    """Copies a layer without dropout layers around or in it, with its name from `plain_names`."""
    if not own_layers(layer):
        return copy_layer(layer)
    if isinstance(layer, keras.layers.Bidirectional):
        return copy_bidirectional(layer, lambda side: plain_layer(side, names))
    if not is_ours(layer):
        raise not_copied(layer, "it holds a dropout layer that Keras cannot replace in a copy")
    inner = getattr(layer, "layer", None)
    if inner is None:
        return keras.layers.Identity(name=layer.name)
    fresh = plain_layer(inner, names)
    fresh.name = names.get(id(layer)) or _name(layer)
    fresh.trainable = layer.trainable
    if hasattr(layer, "go_backwards"):  # `Bidirectional` sets it for the wrapper.
        fresh.go_backwards = layer.go_backwards
    return fresh


def _call(layer: Any, *args: Any, **kwargs: Any) -> Any:
    # A functional model passes masks explicitly; an `Identity` takes none and hands them on.
    if isinstance(layer, keras.layers.Identity):
        kwargs.pop("mask", None)
    return layer(*args, **kwargs)


def plain_names(model: Any) -> dict[int, str]:
    """Returns the names of copies of dropout layers by id, unique in each model."""
    names: dict[int, str] = {}
    for part in walk(model):
        layers = part.layers if isinstance(part, keras.Model) else []
        renamed = [layer for layer in layers if layer.name != _name(layer)]
        taken = {layer.name for layer in layers if layer not in renamed}
        for layer in renamed:
            stem = re.sub(r"_\d+$", "", _name(layer))
            candidates = chain([_name(layer)], (f"{stem}_{number}" for number in count(1)))
            names[id(layer)] = next(name for name in candidates if name not in taken)
            taken.add(names[id(layer)])
    return names


def _name(layer: Any) -> str:
    """Returns a layer's name, or for a wrapper whose name Keras made, the name of the layer in it."""
    side = next((each for each in ("forward_", "backward_") if layer.name.startswith(each)), "")
    is_default = is_default_name(layer.name.removeprefix(side), type(layer).__name__)
    if is_default and is_ours(layer) and hasattr(layer, "layer"):
        return side + str(layer.layer.name).removeprefix(side)
    return str(layer.name)
