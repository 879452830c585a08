"""Rates that a model learns: what they are, how they are followed, and what a training has to tell them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from recdrop_tune.kernels import excluded_from_decay, mask_of
from recdrop_tune.models.layers import is_of_layers, learning_layers, walk
from recdrop_tune.models.parts import is_own

_MASKED_AT_ONCE = 1024
"""So many samples of which a mask is computed at once."""


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

    Where that is not sure they are told so: then they ask for `samples`.

    Args:
        model: The model.
        given: The arguments of its `fit` by name.
    """
    layers = [layer for layer in learning_layers(model) if layer.samples is None]
    number = _number_of_targets(model, given) if layers else None
    for layer in layers:
        layer.expect_samples(number or None)


def spare_rates(model: Any) -> None:
    """Keeps the learned rates of a model out of the weight decay, which would move them towards 1/2.

    Nothing is done where the optimizer has begun, or where its user has said what is to be left out.

    Args:
        model: The model.
    """
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # That of mixed precision.
    logits = [logit for layer in learning_layers(model) for logit in layer.logits.values()]
    if (
        logits
        and optimizer is not None
        and not optimizer.built
        and excluded_from_decay(optimizer) == (None, False)
    ):
        optimizer.exclude_from_weight_decay(var_list=logits)


def ignored_class(loss: Any) -> int | None:
    """Returns the `ignore_class` of a loss; Keras 3.16 has it in the configuration alone."""
    return loss.get_config().get("ignore_class") if isinstance(loss, keras.losses.Loss) else None


def _number_of_targets(model: Any, given: Mapping[str, Any]) -> int | None:
    """Counts the targets over which the loss is a mean; `None` where that is not sure."""
    targets = keras.tree.flatten(given.get("y"))
    shape = getattr(targets[0], "shape", None) if len(targets) == 1 else None
    if not shape or given.get("sample_weight") is not None or not is_of_layers(model):
        return None
    losses, output = keras.tree.flatten(model.loss), _shape_of_output(model, given.get("x"))
    if len(losses) != 1 or losses[0] is None or output is None or len(output) < 2:
        return None
    # The last axis of the output is the mean's of one target, or its classes.
    steps = tuple(shape[1 : len(output) - 1])
    forms = (output[1:-1], (*output[1:-1], 1), output[1:])
    if not any(_agree(tuple(shape[1:]), form) for form in forms):
        return None
    loss = keras.losses.get(losses[0])
    if not _is_a_mean(loss) or (steps and not _is_of_each_step(loss)):
        return None
    samples: int = math.floor(shape[0] * (1.0 - (given.get("validation_split") or 0.0)))
    ignored = ignored_class(loss)
    if steps and _masks(model):
        sure = ignored is None and _has_a_value_for_each(steps, loss, targets[0], output[-1])
        return _unmasked(model, given.get("x"), (samples, *map(int, steps))) if sure else None
    if ignored is not None:
        return int(np.sum(np.asarray(targets[0][:samples]) != ignored))
    return samples * math.prod(map(int, steps))


def _shape_of_output(model: Any, x: Any) -> tuple[int | None, ...] | None:
    """Returns the shape of the only output; `None` where there are several, or it is not known."""
    outputs = getattr(model, "outputs", None)
    if outputs is not None:
        return tuple(outputs[0].shape) if len(outputs) == 1 else None
    shape = getattr(x, "shape", None)
    if not shape:
        return None
    try:  # A `Sequential` that says nothing of its input is built when it sees some.
        return tuple(model.compute_output_shape((None, *shape[1:])))
    except Exception:  # What a layer of a user's own raises that has not been built.
        return None


def _agree(shape: tuple[Any, ...], form: tuple[Any, ...]) -> bool:
    return len(shape) == len(form) and all(
        b is None or a == b for a, b in zip(shape, form, strict=True)
    )


def _is_a_mean(loss: Any) -> bool:
    # A function becomes one in Keras.
    reduction = getattr(loss, "reduction", "mean")
    return reduction in ("sum_over_batch_size", "mean", "mean_with_sample_weight")


def _is_of_each_step(loss: Any) -> bool:
    """Says whether a loss has a value for each step: most of Keras's do; one of a user's own may not."""
    made = loss if hasattr(loss, "__name__") else type(loss)
    return made.__module__.startswith("keras.") and not is_of_whole_sequences(loss)


def is_of_whole_sequences(loss: Any) -> bool:
    """Returns whether a loss is Keras's own of a whole sequence, or batch, which no mask of steps fits."""
    made = loss if hasattr(loss, "__name__") else type(loss)
    return made.__name__.lower() in ("ctc", "circle", "dice", "tversky")


def _has_a_value_for_each(steps: Any, loss: Any, targets: Any, width: int | None) -> bool:
    """Says whether a mask of steps fits what a loss gives: of targets without a last axis some give one."""
    if width is None:
        return False
    # As Keras does with an output of one number for targets that lack the last axis.
    squeezed = width == 1 and len(targets.shape) == 1 + len(steps)
    given = keras.ops.ones((1, *steps) if squeezed else (1, *steps, width))
    compute = loss.call if isinstance(loss, keras.losses.Loss) else loss
    try:
        values = compute(keras.ops.convert_to_tensor(targets[:1]), given)
    except Exception:  # Of targets that do not fit: it is raised in training.
        return False
    return tuple(values.shape) == (1, *steps)


def _unmasked(model: Any, x: Any, shape: tuple[int, ...]) -> int | None:
    """Counts the steps that the mask on the output of a model lets through; `None` where that is not sure.

    Args:
        model: The model.
        x: Its inputs; the first `shape[0]` samples are trained on.
        shape: How many samples there are, and steps of each.
    """
    outputs = getattr(model, "outputs", None)
    if not outputs or _has_models_inside(model) or len(model.inputs) != 1:
        return None
    seen = mask_of(outputs[0])
    if not isinstance(seen, keras.KerasTensor):
        return None
    given = model.inputs[0]
    # A batch of a fixed size, which a stateful layer has, is computed at that size alone.
    at_once = given.shape[0] or _MASKED_AT_ONCE
    if (
        not isinstance(x, np.ndarray)
        or len(x) < shape[0]
        or (given.shape[0] and shape[0] % at_once)
    ):
        return None
    if not _agree(x.shape[1:], given.shape[1:]):  # `fit` adds or drops an axis of 1.
        return None
    # What leads to the mask, and nothing else of the model, in the types in which it is computed there.
    compute, number = keras.Function(model.inputs, seen), 0
    for begin in range(0, shape[0], at_once):
        part = x[begin : min(begin + at_once, shape[0])]
        try:
            mask = compute([keras.ops.convert_to_tensor(part, dtype=given.dtype)])
        except Exception:  # Of data that do not fit: training raises it, if it cannot do it either.
            return None
        if tuple(mask.shape) != (len(part), *shape[1:]):
            return None
        number += int(np.sum(keras.ops.convert_to_numpy(mask)))
    return number


def _masks(model: Any) -> bool:
    """Says whether a mask may reach the loss, which is then a mean over the steps that are not masked."""
    outputs = getattr(model, "outputs", None) or ()
    if any(mask_of(output) is not None for output in outputs):
        return True
    # That of a model inside, or of one that is not built, is not seen there.
    unseen = not outputs or _has_models_inside(model)
    return unseen and any(map(_makes_mask, walk(model)))


def _has_models_inside(model: Any) -> bool:
    inside = (part for layer in model.layers for part in walk(layer))
    return any(isinstance(part, keras.Model) for part in inside)


def _makes_mask(layer: Any) -> bool:
    if isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False):
        return True
    return is_own(type(layer)) and type(layer).compute_mask is not keras.layers.Layer.compute_mask
