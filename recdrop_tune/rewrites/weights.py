"""Rewrites of the weights and of the inputs of each gate: dropped rows, elements and gate inputs."""

from __future__ import annotations

from dataclasses import replace

from keras import ops

from recdrop_tune.rewrites.call import KernelCall, Tensor

# Keras's own dropout and recurrent_dropout: one mask per sample, sequence and gate.


def drop_gate_inputs(
    call: KernelCall, input_noise: Tensor | None, state_noise: Tensor | None
) -> KernelCall:
    """Multiplies the inputs of each gate by its own noise, as Keras's cells do.

        z_g = (x_t * input_noise_g) W_g + (h_{t-1} * state_noise_g) U_g + b_g

    The noise has shape `(gates, batch, features)` and `(gates, batch, units)`. A factor for every sample and
    gate cannot be moved into the weights or the sequences, so no fused kernel computes it: such a call runs
    in the step loop.

    Reference:
        Gal and Ghahramani (2016), arXiv 1512.05287, with untied gates: `keras.layers.LSTM`'s
        `dropout` and `recurrent_dropout`.
    """
    return replace(call, input_noise=input_noise, state_noise=state_noise)


# Variational dropout: whole rows of the recurrent kernel. A dropped unit feeds nothing back.


def drop_rows(call: KernelCall, noise: Tensor) -> KernelCall:
    """Multiplies the rows of the recurrent kernel by noise of shape `(units, gates)`, or `(units, 1)`.

        z_g = x_t W_g + (h_{t-1} * noise_g) U_g + b_g = x_t W_g + h_{t-1} (diag(noise_g) U_g) + b_g

    The noise is the same at every step and for every sample of the call. So it can be moved into the weights,
    and any kernel can run it.

    Reference:
        Gal and Ghahramani (2016), arXiv 1512.05287; tied gates are their one mask for all four gates.
    """
    units = call.units
    gates = call.recurrent_kernel.shape[1] // units
    per_gate = ops.broadcast_to(noise, (units, gates))
    factor = ops.repeat(per_gate, units, axis=1)  # (units, gates * units)
    kernel = call.recurrent_kernel
    return replace(call, recurrent_kernel=kernel * ops.cast(factor, kernel.dtype))


# Weight-drop: single weights of the kernels, with one draw for a whole forward pass.


def drop_weights(
    call: KernelCall, kernel_noise: Tensor | None, recurrent_noise: Tensor | None
) -> KernelCall:
    """Multiplies the kernels element by element by noise of their shapes.

        z = x_t (W * kernel_noise) + h_{t-1} (U * recurrent_noise) + b

    Reference:
        Wan, Zeiler, Zhang, LeCun, Fergus (2013), DropConnect, ICML; Merity, Keskar, Socher (2017),
        arXiv 1708.02182, for the recurrent kernel of an LSTM.
    """
    return replace(
        call,
        kernel=_times(call.kernel, kernel_noise),
        recurrent_kernel=_times(call.recurrent_kernel, recurrent_noise),
    )


def _times(weights: Tensor, noise: Tensor | None) -> Tensor:
    return weights if noise is None else weights * ops.cast(noise, weights.dtype)
