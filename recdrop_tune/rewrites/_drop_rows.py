"""Variational dropout: whole rows of the recurrent kernel, so that a dropped unit feeds nothing back."""

from __future__ import annotations

from dataclasses import replace

from keras import ops

from recdrop_tune.rewrites._call import KernelCall, Tensor


def drop_rows(call: KernelCall, noise: Tensor) -> KernelCall:
    """Multiplies the rows of the recurrent kernel.

        z_g = x_t W_g + (h_{t-1} * noise_g) U_g + b_g = x_t W_g + h_{t-1} (diag(noise_g) U_g) + b_g

    The same noise at every step and for every sample of the call: that is what makes it a rewrite of
    the weights, which any kernel can run.

    Args:
        call: The call to rewrite.
        noise: Shape `(units, gates)`; or `(units, 1)`, one noise for all gates.

    Reference:
        Gal and Ghahramani (2016), arXiv 1512.05287: tied gates are their sampling of one mask for
        all four gates.
    """
    units = call.units
    gates = call.recurrent_kernel.shape[1] // units
    per_gate = ops.broadcast_to(noise, (units, gates))
    factor = ops.repeat(per_gate, units, axis=1)  # (units, gates * units)
    kernel = call.recurrent_kernel
    return replace(call, recurrent_kernel=kernel * ops.cast(factor, kernel.dtype))
