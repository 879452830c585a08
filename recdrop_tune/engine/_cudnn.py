"""The cuDNN kernel, through the hook that Keras's own layers use."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from keras import ops

from recdrop_tune.engine import _hooks
from recdrop_tune.engine._finish import finish
from recdrop_tune.rewrites import KernelCall, absorb_forcings
from recdrop_tune.rewrites._call import Tensor


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
