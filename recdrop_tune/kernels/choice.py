"""Picks the kernel of a call: the fastest one that computes it here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
from keras import ops

from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.kernels import keras_internals as _hooks
from recdrop_tune.kernels.block_lstm import block_lstm_can_run, run_block_lstm
from recdrop_tune.kernels.loop import finish, run_loop
from recdrop_tune.rewrites import KernelCall, Tensor, absorb_forcings

# The cuDNN kernel, through the hook that Keras's own layers use.


def run_cudnn(call: KernelCall, layer: Any) -> tuple[Tensor, ...]:
    """Runs a call on cuDNN, gate forcings as extra features.

    Raises:
        NotImplementedError: Keras's way to say that cuDNN cannot be had for this call.
    """
    call = _forwards(absorb_forcings(call))
    hook = _hooks.lstm if call.cell == "lstm" else _hooks.gru
    extra = {} if call.cell == "lstm" else {"reset_after": call.reset_after}
    return finish(
        call,
        layer,
        *hook(
            call.sequences,
            *call.initial_state,
            call.mask,
            kernel=call.kernel,
            recurrent_kernel=call.recurrent_kernel,
            bias=call.bias,
            activation=layer.activation,
            recurrent_activation=layer.recurrent_activation,
            return_sequences=layer.return_sequences,
            go_backwards=call.go_backwards,
            unroll=layer.unroll,
            **extra,
        ),
    )


def _forwards(call: KernelCall) -> KernelCall:
    """Turns a backward call round. With a mask only Keras can: each sample has a length of its own.

    Keras's jax backend would give back the outputs in the order of time, the others in that of
    emission, which is what a backward layer returns.
    """
    if not call.go_backwards or call.mask is not None:
        return call
    return replace(call, sequences=ops.flip(call.sequences, axis=1), go_backwards=False)


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
    try:
        return run_cudnn(call, layer) if call.mask is None else _run_by_mask(call, layer)
    except NotImplementedError as error:  # how Keras's backends decline
        if layer.use_cudnn is True:
            raise _no_cudnn(call) from error
        return run_loop(call, layer)


def _run_by_mask(call: KernelCall, layer: Layer) -> tuple[Tensor, ...]:
    """Looks at the mask of each batch: cuDNN takes only one that is right-padded."""
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


def keras_goes_wrong(layer: Layer, mask: Tensor | None) -> bool:
    """Whether Keras's own call of a layer goes wrong on cuDNN, where `run` does not.

    With a mask that is not right-padded it stops. Its jax backend gives the outputs of a backward LSTM in
    the order of time, and cannot compile one in half precision.
    """
    if mask is not None:
        return cudnn_takes_masks(layer)
    if keras.backend.backend() != "jax" or not isinstance(layer, keras.layers.LSTM):
        return False
    turned = layer.go_backwards and layer.return_sequences
    return (turned or _is_half(layer)) and _allowed_on_cudnn(layer)


def _cudnn_can_run(call: KernelCall, layer: Layer) -> bool:
    if call.needs_loop:
        return False
    if call.mask is not None and not cudnn_takes_masks(layer):
        return False
    return _layer_suits_cudnn(layer)


def _layer_suits_cudnn(layer: Layer) -> bool:
    # Of cuDNN jax has the LSTM alone, and not in half precision.
    if keras.backend.backend() == "jax" and (
        isinstance(layer, keras.layers.GRU) or _is_half(layer)
    ):
        return False
    return _allowed_on_cudnn(layer)


def _is_half(layer: Layer) -> bool:
    return layer.cell.compute_dtype in ("float16", "bfloat16")


def _allowed_on_cudnn(layer: Layer) -> bool:
    """Whether Keras would try cuDNN for a layer with these options."""
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
