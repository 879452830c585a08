"""Learned dropout rates: reading and logging them, and what training must tell the layers that learn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras

from recdrop_tune.kernels import excluded_from_decay
from recdrop_tune.models.layers import is_of_layers, learning_layers, walk


def learned_rates(root: Any) -> dict[str, float]:
    """Returns the current learned rates in a layer or model, by the name of their metric.

    The name is `learned_rate.recurrent`, or another site. If several layers learn, it starts with the layer:
    `encoder/learned_rate.recurrent`.
    """
    layers = learning_layers(root)
    return {
        f"{layer.name}/learned_rate.{site}" if len(layers) > 1 else f"learned_rate.{site}": rate
        for layer in layers
        for site, rate in layer.learned_rates.items()
    }


class LearnedRates(keras.callbacks.Callback):
    """Adds a model's learned rates, if any, to the metrics of each epoch. A search adds this callback itself.

    Example:
        >>> history = model.fit(x, y, callbacks=[LearnedRates()]).history
        >>> history["learned_rate.recurrent"]
    """

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the metrics, as Keras's own callbacks write the learning rate."""
        if logs is not None:
            logs.update(learned_rates(self.model))


def count_samples(model: Any, given: Mapping[str, Any]) -> None:
    """Sets how many targets the arguments of `fit` have, on the layers that learn rates without `samples`."""
    layers = [layer for layer in learning_layers(model) if layer.samples is None]
    targets = keras.tree.flatten(given.get("y"))
    shape = getattr(targets[0], "shape", ()) if targets else ()
    number = None
    if layers and shape:
        outputs = getattr(model, "outputs", None) or ()
        # Between the samples and the classes, an output has the steps, each with a target.
        steps = shape[1 : len(outputs[0].shape) - 1] if outputs else ()
        trained = math.floor(shape[0] * (1.0 - (given.get("validation_split") or 0.0)))
        number = trained * math.prod(map(int, steps))
    for layer in layers:
        if layer.training_samples != number:
            layer.training_samples = number
            model.train_function = None  # It has been traced with the other number.


def spare_rates(model: Any) -> None:
    """Excludes learned rates from weight decay, which would move them to 1/2, unless it is too late."""
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # For mixed precision.
    logits = [logit for layer in learning_layers(model) for logit in layer.logits.values()]
    if not logits or optimizer is None or optimizer.built:
        return
    if excluded_from_decay(optimizer) == (None, False):
        optimizer.exclude_from_weight_decay(var_list=logits)


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
