"""Picks the kernel of a call: the fastest one that computes it here."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recdrop_tune.engine import _hooks
from recdrop_tune.engine._block_lstm import block_lstm_can_run, run_block_lstm
from recdrop_tune.engine._cudnn import run_cudnn
from recdrop_tune.engine._loop import run_loop
from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.rewrites import KernelCall
from recdrop_tune.rewrites._call import Tensor

Layer = Any
"""A `keras.layers.LSTM` or `GRU`; Keras ships no type information."""


def run(call: KernelCall, layer: Layer) -> tuple[Tensor, ...]:
    """Runs a call on the fastest kernel that computes it here.

    Args:
        call: The call, rewritten.
        layer: The layer it came from: tells the activations and what to return.

    Returns:
        `(output, *states)`; the output has shape `(batch, time, units)` or `(batch, units)`.

    Raises:
        InvalidArgumentError: The layer insists on cuDNN (`use_cudnn=True`), which cannot be had.
    """
    if not _cudnn_can_run(call, layer):
        if layer.use_cudnn is True:
            raise _no_cudnn(call)
        run_here = run_block_lstm if block_lstm_can_run(call, layer) else run_loop
        return run_here(call, layer)
    if call.mask is None:
        try:
            return run_cudnn(call, layer)
        except NotImplementedError:  # how Keras's backends decline
            return run_loop(call, layer)
    return tuple(
        ops.cond(
            _is_right_padded(call.mask),
            lambda: list(run_cudnn(call, layer)),
            lambda: list(run_loop(call, layer)),
        )
    )


def cudnn_takes_masks(layer: Layer) -> bool:
    """Whether Keras would hand this layer's calls to cuDNN even with a mask."""
    return keras.backend.backend() == "tensorflow" and _layer_suits_cudnn(layer)


def _cudnn_can_run(call: KernelCall, layer: Layer) -> bool:
    if call.needs_loop:
        return False
    if call.mask is not None and not cudnn_takes_masks(layer):
        return False
    return _layer_suits_cudnn(layer)


def _layer_suits_cudnn(layer: Layer) -> bool:
    if layer.use_cudnn not in (True, "auto") or not getattr(layer, "reset_after", True):
        return False
    return bool(
        _hooks.cudnn_ok(
            activation=layer.activation,
            recurrent_activation=layer.recurrent_activation,
            unroll=layer.unroll,
            use_bias=layer.use_bias,
        )
    )


def _no_cudnn(call: KernelCall) -> InvalidArgumentError:
    reason = "no GPU is in use"
    if call.needs_loop:
        reason = "neither noise per sample and gate nor zoneout of h can be expressed there"
    return invalid_argument(
        "use_cudnn",
        expected=f"'auto' or False, because cuDNN cannot run this layer here ({reason}, or the "
        "activations, `use_bias`, `unroll` or `reset_after` are not cuDNN's)",
        received=True,
        fix='Pass use_cudnn="auto" to the wrapped layer to fall back to the step loop.',
    )


def _is_right_padded(mask: Tensor) -> Tensor:
    """Tells whether cuDNN takes the mask: every row valid at its start and never again after a gap."""
    valid = ops.cast(mask, "int32")
    return ops.logical_and(ops.all(valid[:, 0] == 1), ops.all(valid[:, 1:] <= valid[:, :-1]))
