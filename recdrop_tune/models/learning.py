"""Rates that a model learns: what they are, how they are followed, and what a training has to tell them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from recdrop_tune.models.layers import learning_layers


def learned_rates(root: Any) -> dict[str, float]:
    """Returns the learned rates in a layer or model as they are now, by the metric that follows each.

    The name of the metric is `learned_rate.recurrent`, or with another site. Where several layers learn, the
    name of the layer is before it: `encoder/learned_rate.recurrent`.
    """
    layers = learning_layers(root)
    return {
        f"{layer.name}/learned_rate.{site}" if len(layers) > 1 else f"learned_rate.{site}": rate
        for layer in layers
        for site, rate in layer.learned_rates.items()
    }


class LearnedRates(keras.callbacks.Callback):
    """Adds the learned rates of a model, if it has some, to the metrics of each epoch.

    A search adds it to each training.

    Example:
        >>> history = model.fit(x, y, callbacks=[LearnedRates()]).history
        >>> history["learned_rate.recurrent"]
    """

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the metrics, as Keras's own callbacks write the learning rate."""
        if logs is not None:
            logs.update(learned_rates(self.model))


def count_targets(model: Any, given: Mapping[str, Any]) -> None:
    """Tells the layers of a model that learn their rates how many targets there are to train on.

    Counted are arrays: the targets, over which the loss is a mean. Where the output has a value at each
    step, so has the loss.

    Args:
        model: The model.
        given: The arguments of its `fit` by name.
    """
    layers, targets = learning_layers(model), keras.tree.flatten(given.get("y"))
    if not layers or not targets or targets[0] is None:
        return
    shape = np.shape(targets[0])
    outputs = getattr(model, "outputs", None) or []
    # The last axis of the output is the mean's of one target, or its classes.
    leading = max(1, len(outputs[0].shape) - 1) if len(outputs) == 1 else 1
    share = 1.0 - (given.get("validation_split") or 0.0)
    number = math.floor(shape[0] * share) * math.prod(shape[1:leading])
    for layer in layers if number else ():
        layer.expect_samples(number)
