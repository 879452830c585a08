"""Activation regularization: terms of the training loss that depend on a layer's activations."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from numbers import Real
from typing import Any

import keras
from keras import ops

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import stateless_scope
from recdrop_tune.rewrites import Tensor


def activity(outputs: Tensor, mask: Tensor | None) -> Tensor:
    """Computes the mean square of activations, over samples, steps and units.

    The outputs have shape `(batch, time, units)`, and steps where the mask `(batch, time)` is `False` do not
    count; or shape `(batch, units)`, where every sample counts, since later layers get no mask either.
    """
    counts = None if mask is None or len(outputs.shape) == 2 else mask[..., None]
    return _mean(ops.square(_precise(outputs)), counts)


def movement(outputs: Tensor, mask: Tensor | None, noise: Tensor | None = None) -> Tensor:
    """Computes the mean square of the difference between neighbouring steps; 0 for a single step.

    The outputs have shape `(batch, time, units)`. A pair of steps counts if the mask `(batch, time)` keeps
    both. With `noise`, the dropout noise in the outputs, a unit counts in a pair if it is kept at both,
    without the scale of dropout.
    """
    outputs = _precise(outputs)
    counts = None if mask is None else mask[..., None]  # (batch, time, 1)
    if noise is not None:
        kept = noise > 0
        outputs = outputs / ops.cast(ops.where(kept, noise, 1.0), outputs.dtype)
        counts = kept if counts is None else ops.logical_and(kept, counts)
    pairs = None if counts is None else ops.logical_and(counts[:, 1:], counts[:, :-1])
    return _mean(ops.square(outputs[:, 1:] - outputs[:, :-1]), pairs)


def _precise(outputs: Tensor) -> Tensor:
    """Casts half precision, in which squares and sums lose their digits or overflow, to float32."""
    dtype = keras.backend.standardize_dtype(outputs.dtype)
    return outputs if dtype == "float64" else ops.cast(outputs, "float32")


def _mean(squares: Tensor, counts: Tensor | None) -> Tensor:
    weights = ops.ones_like(squares)
    if counts is not None:
        weights = weights * ops.cast(counts, squares.dtype)
    return ops.divide_no_nan(ops.sum(squares * weights), ops.sum(weights))


def check_decay(argument: str, value: Any) -> float:
    """Returns a decay as a float; raises unless it is a finite number of at least 0."""
    known = isinstance(value, Real) and not isinstance(value, bool)
    try:
        number = float(value) if known else math.nan
    except OverflowError:  # An integer can be too large for a float.
        number = math.inf
    if not 0 <= number < math.inf:
        raise invalid_argument(
            argument,
            expected="a number >= 0",
            received=value,
            fix="0 adds nothing to the loss; AWD-LSTM uses activity_decay=2 and temporal_decay=1.",
        )
    return number


class HasDecays:
    """Gives a Keras layer the decays of its activations, which are constants in a trace.

    A layer that is called several times in a forward pass adds the mean over its calls.
    """

    activity_decay: float
    """Factor of the mean square of the layer's outputs, after dropout."""
    temporal_decay: float
    """Factor of the mean square of their change from step to step, of units that are not dropped."""
    add_loss: Any

    def _set_up_decays(self, activity_decay: Any, temporal_decay: Any = 0.0) -> None:
        self.activity_decay = check_decay("activity_decay", activity_decay)
        self.temporal_decay = check_decay("temporal_decay", temporal_decay)
        self._added: weakref.WeakKeyDictionary[Any, list[Tensor]] = weakref.WeakKeyDictionary()

    def _add_decays(
        self,
        emitted: Sequence[Tensor],
        dropped: Sequence[Tensor],
        mask: Tensor | None,
        added: Sequence[Tensor],
        noise: Sequence[Tensor] | None = None,
    ) -> None:
        """Adds the decays of a call to the loss; `emitted` has an output, or those of two directions.

        `dropped` are these outputs after dropout at the output, `noise` is that of recurrent dropout in each,
        and `added` are the losses added by earlier calls in this forward pass.
        """
        if mask is not None:  # Keras's layers also take a mask of shape `(batch, time, 1)`.
            mask = ops.cast(mask[..., 0] if len(mask.shape) == 3 else mask, "bool")
        terms = []
        if self.activity_decay:
            terms += [self.activity_decay * activity(output, mask) for output in dropped]
        if self.temporal_decay:
            pairs = zip(emitted, noise or [None] * len(emitted), strict=True)
            terms += [self.temporal_decay * movement(each, mask, noisy) for each, noisy in pairs]
        if terms:
            # Keras sums losses in this type, whatever the type of the layer.
            loss = ops.cast(sum(terms) / len(emitted), keras.config.floatx())
            scope = stateless_scope()
            before = [] if scope is None else self._added.setdefault(scope, [])
            if before and not added:
                # In training on JAX, Keras forgets a layer's losses when a model calls it again.
                self.add_loss(before)
                added = before
            # Makes the sum of the added losses the mean over the calls so far.
            change = (loss - sum(added)) / (len(added) + 1)
            self.add_loss(change)
            before.append(change)
