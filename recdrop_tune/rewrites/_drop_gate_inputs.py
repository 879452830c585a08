"""Keras's own dropout and recurrent_dropout: one mask per sample, sequence and gate."""

from __future__ import annotations

from dataclasses import replace

from recdrop_tune.rewrites._call import KernelCall, Tensor


def drop_gate_inputs(
    call: KernelCall, input_noise: Tensor | None, state_noise: Tensor | None
) -> KernelCall:
    """Multiplies what each gate reads by a noise of its own, as Keras's cells do.

        z_g = (x_t * input_noise_g) W_g + (h_{t-1} * state_noise_g) U_g + b_g

    A different factor for every sample and gate is no rewrite of the weights or of the sequences, so
    no fused kernel can compute it: such a call runs in the step loop.

    Args:
        call: The call to rewrite.
        input_noise: `None`, or shape `(gates, batch, features)`.
        state_noise: `None`, or shape `(gates, batch, units)`.

    Reference:
        Gal and Ghahramani (2016), arXiv 1512.05287, with untied gates: `keras.layers.LSTM`'s
        `dropout` and `recurrent_dropout`.
    """
    return replace(call, input_noise=input_noise, state_noise=state_noise)
