"""Chooses the size of validation batches: large ones, all of the same size, where scores do not depend on it.

For a last batch that is smaller, JAX compiles another program. Large batches take less time, too.
"""

from __future__ import annotations

import math
from types import FunctionType
from typing import Any

import keras

from recdrop_tune.kernels import compile_arguments
from recdrop_tune.models.layers import is_known, is_of_layers, walk
from recdrop_tune.models.masks import is_of_each_step, masks_targets

_MOST_NUMBERS = 2**22
"""How many numbers the widest layer may compute for a batch: 16 MiB in float32."""


def validation_batch_size(model: Any, packed: Any, size: int) -> int:
    """Returns the largest size of equal validation batches; `size` if none fits or scores depend on it."""
    if not _scores_are_means(model):
        return size
    inputs = keras.tree.flatten(packed[0] if isinstance(packed, tuple) else packed)
    samples = len(inputs[0])
    # Tokens have no axis of features.
    steps = sum(math.prod(tensor.shape[1:-1] or tensor.shape[1:]) for tensor in inputs)
    widths = [tensor.shape[-1] for tensor in [*inputs, *model.weights] if len(tensor.shape) > 1]
    fewest = 1 + samples * steps * max(widths, default=1) // _MOST_NUMBERS
    for batches in range(fewest, samples // size + 1):
        if samples % batches == 0:
            return samples // batches
    return size


def _scores_are_means(model: Any) -> bool:
    """Returns whether the loss and the metrics average over samples, no matter in which batches they are."""
    if not (is_of_layers(model) and model.built) or masks_targets(model):
        return False
    if any(tensor.shape[0] is not None for tensor in model.inputs):
        return False
    parts = [part for layer in walk(model) for part in (layer, *getattr(layer, "operations", ()))]
    arguments = compile_arguments(model)
    losses = [keras.losses.get(loss) for loss in keras.tree.flatten(arguments["loss"])]
    metrics = keras.tree.flatten([arguments["metrics"], arguments["weighted_metrics"]])
    return (
        all(isinstance(part, keras.Layer) and is_known(part) for part in parts)
        and all(loss is None or _is_mean(loss) for loss in losses)
        and all(metric is None or _is_of_keras(metric) for metric in metrics)
    )


def _is_mean(loss: Any) -> bool:
    """Returns whether a loss is the mean of all targets, with the same weight in each batch."""
    reduction = getattr(loss, "reduction", "mean")  # Keras takes the mean of a function.
    # In Keras 3.16 only the configuration has it.
    ignored = loss.get_config().get("ignore_class") if isinstance(loss, keras.losses.Loss) else None
    return (
        is_of_each_step(loss) and reduction in ("sum_over_batch_size", "mean") and ignored is None
    )


def _is_of_keras(metric: Any) -> bool:
    """Returns whether a metric is one of Keras's or of this package's."""
    if isinstance(metric, str):
        return keras.saving.get_registered_object(metric) is None
    if isinstance(metric, FunctionType):
        return metric.__module__.startswith("keras.")
    return isinstance(metric, keras.metrics.Metric) and is_known(metric)
