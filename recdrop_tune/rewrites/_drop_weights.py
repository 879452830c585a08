"""Weight-drop: single weights of the kernels, one draw for a whole forward pass."""

from __future__ import annotations

from dataclasses import replace

from keras import ops

from recdrop_tune.rewrites._call import KernelCall, Tensor


def drop_weights(
    call: KernelCall, kernel_noise: Tensor | None, recurrent_noise: Tensor | None
) -> KernelCall:
    """Multiplies the kernels element by element.

        z = x_t (W * kernel_noise) + h_{t-1} (U * recurrent_noise) + b

    Args:
        call: The call to rewrite.
        kernel_noise: `None`, or the shape of `kernel`.
        recurrent_noise: `None`, or the shape of `recurrent_kernel`.

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
