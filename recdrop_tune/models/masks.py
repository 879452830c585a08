"""Masks in models: where they come from, who passes them on, and which losses they reach."""

from __future__ import annotations

import inspect
from typing import Any

import keras

from recdrop_tune.kernels import KERAS_PASSES_MASKS, mask_of, set_mask
from recdrop_tune.models.layers import is_of_layers, walk
from recdrop_tune.wrappers import RecurrentWrapper

_RECURRENT = (
    keras.layers.RNN | keras.layers.Bidirectional | keras.layers.TimeDistributed | RecurrentWrapper
)


def passes_masks(layer: Any) -> bool:
    """Returns whether this is a recurrent layer that passes its mask on although Keras's do not."""
    return not KERAS_PASSES_MASKS and isinstance(layer, _RECURRENT) and layer.supports_masking


def pass_masks(layer: Any) -> Any:
    """Makes the recurrent layers in a layer or model pass on their masks, and returns it."""
    # From Keras 3.16 on, they do not (keras#23235): the second layer of a stack reads padded steps, and the
    # loss counts them. A file does not keep this setting: `with_masks` also writes masks into calls.
    for part in walk(layer):
        if isinstance(part, _RECURRENT):
            part.supports_masking = True
    return layer


def with_masks(model: Any) -> Any:
    """Returns a model of the same layers that pass on their masks, also in its file."""
    # With masks as arguments of their calls, as Keras saved functional models up to 3.15.
    if KERAS_PASSES_MASKS:
        return model
    pass_masks(model)
    if not is_of_layers(model) or not model.built:
        return model
    found = False

    def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal found
        mask = mask_of(args[0]) if len(args) == 1 else None
        if mask is not None and "mask" in inspect.signature(layer.call).parameters:
            found = True
            kwargs["mask"] = mask
        outputs = layer(*args, **kwargs)
        # A nested model drops its mask: compute it by calling the model's layers.
        if "mask" in kwargs and isinstance(layer, keras.Model):
            set_mask(outputs, mask_of(layer.call(*args, **kwargs)))
        return outputs

    functional = model
    if isinstance(model, keras.Sequential):
        functional = keras.Model(model.inputs, model.outputs, name=model.name)
    masked = keras.models.clone_model(
        functional,
        clone_function=lambda part: with_masks(part) if isinstance(part, keras.Model) else part,
        call_function=called,
    )
    return masked if found else model


def is_of_whole_sequences(loss: Any) -> bool:
    """Returns whether a Keras loss has one value for a whole sequence or batch, so masks do not apply."""
    made = loss if hasattr(loss, "__name__") else type(loss)
    return made.__name__.lower() in ("ctc", "circle", "dice", "tversky")


def makes_masks(model: Any) -> bool:
    """Returns whether anything in a model makes a mask, or might."""
    operations = getattr(model, "operations", ())
    if not is_of_layers(model) or not all(isinstance(each, keras.Layer) for each in operations):
        return True
    return any(map(_makes_mask, walk(model)))


def _makes_mask(layer: Any) -> bool:
    """Returns whether a layer creates a mask, or might."""
    if isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False):
        return True
    user_defined = str(type(layer).__module__).partition(".")[0] not in ("keras", "recdrop_tune")
    return user_defined and type(layer).compute_mask is not keras.layers.Layer.compute_mask
