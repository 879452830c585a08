"""Dropout on what a unit feeds back, per sample and per step, by forcing one gate."""

from __future__ import annotations

from dataclasses import replace

from keras import ops

from recdrop_tune.rewrites._call import GateForcing, KernelCall, Tensor
from recdrop_tune.rewrites._gates import gate_columns


def drop_recurrent(
    call: KernelCall, dropped: Tensor, dropped_initial: Tensor, rate: Tensor
) -> KernelCall:
    r"""Drops units from the recurrence, with inverted scaling.

    With m = 1 - dropped:

        LSTM:  z_t = x_t W + (m_{t-1} * h_{t-1} / (1 - rate)) U + b     (m_0 is the initial one)
        GRU:   n_t = tanh(x_t W_n + b_n + m_t / (1 - rate) * r_t * (h_{t-1} U_n + b'_n))

    The LSTM's output gate is forced to 0, so the unit's emitted h is 0 too: with `return_sequences` the
    emitted sequence carries the masks, scaled by 1 / (1 - rate). The last valid step feeds nothing
    back and is left clear, so the last output and the final states are those of dropout on the
    fed-back copy alone. The GRU's reset gate is forced to 0: what it emits is untouched.

    Args:
        call: The call to rewrite.
        dropped: Booleans of shape `(batch, time, units)` or `(batch, 1, units)`.
        dropped_initial: Booleans of shape `(batch, units)`: for the LSTM's initial h.
        rate: Scalar, the probability with which `dropped` was drawn.

    Reference:
        Semeniuta, Severyn, Barth (2016), arXiv 1603.05118; Moon, Choi, Lee, Song (2015), RNNDrop, for one
        mask per sequence; Gal and Ghahramani (2016), arXiv 1512.05287, for dropping the fed-back h.
    """
    rewrite = _drop_lstm if call.cell == "lstm" else _drop_gru
    return rewrite(call, dropped, dropped_initial, ops.cast(rate, "float32"))


def _drop_lstm(call: KernelCall, dropped: Tensor, initial: Tensor, rate: Tensor) -> KernelCall:
    feeds_back = _feeds_back(call)  # (batch or 1, time, 1)
    scale = 1.0 / (1.0 - rate)
    bits = ops.logical_and(dropped, feeds_back)  # (batch, time, units)
    h, c = call.initial_state
    emitted = ops.flip(feeds_back, axis=1) if call.go_backwards else feeds_back
    return replace(
        call,
        recurrent_kernel=_times(call.recurrent_kernel, scale),
        initial_state=(ops.where(initial, ops.zeros_like(h), h), c),
        forcings=(*call.forcings, GateForcing(ops.cast(bits, h.dtype), (("output", 0),))),
        output_scale=ops.where(emitted, scale, 1.0),
    )


def _drop_gru(call: KernelCall, dropped: Tensor, initial: Tensor, rate: Tensor) -> KernelCall:
    del initial  # the reset gate of the first step already drops the initial h
    scale = gate_columns("gru", call.units, {"candidate": 1.0 / (1.0 - rate)}, default=1.0)
    bias = call.bias
    if bias is not None and call.reset_after:  # rows: input bias, recurrent bias
        bias = _times(bias, ops.stack([ops.ones_like(scale), scale]))
    h = call.initial_state[0]
    every_step = ops.ones_like(call.sequences[:, :, :1], dtype="bool")  # (batch, time, 1)
    bits = ops.cast(ops.logical_and(dropped, every_step), h.dtype)
    return replace(
        call,
        recurrent_kernel=_times(call.recurrent_kernel, scale),
        bias=bias,
        forcings=(*call.forcings, GateForcing(bits, (("reset", 0),))),
    )


def _times(weights: Tensor, factor: Tensor) -> Tensor:
    return weights * ops.cast(factor, weights.dtype)


def _feeds_back(call: KernelCall) -> Tensor:
    """Tells, as `(batch or 1, time, 1)` booleans, which steps a later valid step reads h from."""
    if call.mask is None:
        valid = ops.ones_like(call.sequences[:1, :, 0], dtype="int32")
    else:
        valid = ops.cast(call.mask, "int32")  # (batch, time)
    seen = ops.cumsum(valid, axis=1)
    total = ops.sum(valid, axis=1, keepdims=True)
    later = seen - valid if call.go_backwards else total - seen
    return ops.expand_dims(later > 0, axis=-1)
