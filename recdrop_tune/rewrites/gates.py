"""Rewrites of the gates: forcing, dropout of the recurrent state and of the update, and zoneout.

This is the only file that knows the order of the gates in Keras's cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import keras
from keras import ops

from recdrop_tune.rewrites.call import Cell, GateForcing, KernelCall, Tensor

GATES: dict[Cell, tuple[str, ...]] = {
    "lstm": ("input", "forget", "candidate", "output"),
    "gru": ("update", "reset", "candidate"),
}
"""The gates of each cell, in the order of the blocks of `kernel`, `recurrent_kernel` and `bias`."""


def split_gates(blocks: Tensor, cell: Cell) -> dict[str, Tensor]:
    """Splits `(..., gates * units)` into one `(..., units)` tensor per gate."""
    return dict(zip(GATES[cell], ops.split(blocks, len(GATES[cell]), axis=-1), strict=True))


def reorder_gates(blocks: Tensor, cell: Cell, order: tuple[str, ...]) -> Tensor:
    """Puts the blocks of `(..., gates * units)` into the order that another kernel expects."""
    gates = split_gates(blocks, cell)
    return ops.concatenate([gates[gate] for gate in order], axis=-1)


def gate_columns(cell: Cell, units: int, values: Mapping[str, Tensor], default: float) -> Tensor:
    """Builds the vector `(gates * units,)` of one scalar per gate; `default` is that of unnamed gates."""
    per_gate = ops.stack([ops.cast(values.get(gate, default), "float32") for gate in GATES[cell]])
    return ops.repeat(per_gate, units)


def forced_rows(cell: Cell, units: int, logits: Mapping[str, float], dtype: str) -> Tensor:
    """Builds constant kernel rows `(units, gates * units)`: a scaled identity per named gate.

    Appended to `kernel`, row `j` adds `logits[gate]` to the pre-activation of unit `j` of each gate.
    """
    eye = ops.eye(units, dtype=dtype)
    return ops.concatenate([eye * logits.get(gate, 0.0) for gate in GATES[cell]], axis=1)


# Gate forcing: per-sample, per-step noise inside the recurrence of an unmodified kernel.
#
# Mask bits are appended to `sequences` as extra features and constant rows of +-S to `kernel`:
#
#     sigmoid([x, bit] @ [W; -S I] + ...) = sigmoid(x W + ...)  where bit = 0
#                                         = 0 exactly           where bit = 1
#
# because `sigmoid(-256)` is 0 in float32, bfloat16 and float16. The rows are constants: they are not
# variables, have no gradient, and are never saved. Any kernel for an LSTM or GRU computes this, also cuDNN's.

# exp(-256) is 6.6e-112: 0 in float32 (smallest subnormal 1.4e-45), with a margin of 150 for the
# pre-activation that it has to outweigh. 256 is a power of two, so it is exact in float16 and bfloat16.
SATURATION = 256.0


def absorb_forcings(call: KernelCall) -> KernelCall:
    """Rewrites each gate forcing into `units` extra features and as many constant kernel rows."""
    if not call.forcings:
        return call
    bits = [forcing.bits for forcing in call.forcings]
    rows = [_rows(call, forcing) for forcing in call.forcings]
    return replace(
        call,
        sequences=ops.concatenate([call.sequences, *bits], axis=-1),
        kernel=ops.concatenate([call.kernel, *rows], axis=0),
        forcings=(),
    )


def _rows(call: KernelCall, forcing: GateForcing) -> Tensor:
    logits = {gate: SATURATION if value else -SATURATION for gate, value in forcing.gates}
    dtype = keras.backend.standardize_dtype(call.kernel.dtype)
    return forced_rows(call.cell, call.units, logits, dtype)


# Dropout of the fed-back state, per sample and per step, by forcing one gate.


def drop_recurrent(
    call: KernelCall, dropped: Tensor, dropped_initial: Tensor, rate: Tensor
) -> KernelCall:
    """Drops units from the recurrence, with inverted scaling.

    With m = 1 - dropped:

        LSTM:  z_t = x_t W + (m_{t-1} * h_{t-1} / (1 - rate)) U + b     (m_0 is the initial one)
        GRU:   n_t = tanh(x_t W_n + b_n + m_t / (1 - rate) * r_t * (h_{t-1} U_n + b'_n)), or
               n_t = tanh(x_t W_n + b_n + (m_t / (1 - rate) * r_t * h_{t-1}) U_n) without `reset_after`

    `dropped` has booleans of shape `(batch, time, units)` or `(batch, 1, units)`, `dropped_initial`, for the
    LSTM's initial h, of shape `(batch, units)`. The LSTM's output gate is forced to 0, so the unit's output h
    is 0 too: with `return_sequences`, the output sequence has the masks, scaled by 1 / (1 - rate). The last
    valid step feeds nothing back and is not dropped, so the last output and the final states are those of
    dropout on the fed-back copy only. The GRU's reset gate is forced to 0, which does not mask its outputs.

    Reference:
        Gal and Ghahramani (2016), arXiv 1512.05287, drop the fed-back h, with one mask for all steps, and
        Semeniuta et al. (2016), arXiv 1603.05118, also with one for each step. Neither drops an LSTM's
        outputs. The GRU's variant has no published source that we know.
    """
    rewrite = _drop_lstm if call.cell == "lstm" else _drop_gru
    return rewrite(call, dropped, dropped_initial, ops.cast(rate, "float32"))


def _drop_lstm(call: KernelCall, dropped: Tensor, initial: Tensor, rate: Tensor) -> KernelCall:
    feeds_back = _feeds_back(call)  # (batch or 1, time, 1)
    scale = 1.0 / (1.0 - rate)
    bits = ops.logical_and(dropped, feeds_back)  # (batch, time, units)
    h, c = call.initial_state
    if call.mask is not None:
        # A sample without a valid step reads no h, and returns its initial one.
        initial = ops.logical_and(initial, ops.any(call.mask, axis=1, keepdims=True))
    emitted = ops.flip(feeds_back, axis=1) if call.go_backwards else feeds_back
    return replace(
        call,
        recurrent_kernel=_times(call.recurrent_kernel, scale),
        initial_state=(ops.where(initial, ops.zeros_like(h), h), c),
        forcings=(*call.forcings, GateForcing(ops.cast(bits, h.dtype), (("output", 0),))),
        output_scale=ops.where(emitted, scale, 1.0),
    )


def _drop_gru(call: KernelCall, dropped: Tensor, initial: Tensor, rate: Tensor) -> KernelCall:
    del initial  # The reset gate of the first step already drops the initial h.
    scale = gate_columns("gru", call.units, {"candidate": 1.0 / (1.0 - rate)}, default=1.0)
    bias = call.bias
    if bias is not None and call.reset_after:  # Rows: input bias, recurrent bias.
        bias = _times(bias, ops.stack([ops.ones_like(scale), scale]))
    return replace(
        call,
        recurrent_kernel=_times(call.recurrent_kernel, scale),
        bias=bias,
        forcings=(*call.forcings, GateForcing(_at_every_step(call, dropped), (("reset", 0),))),
    )


def _times(weights: Tensor, factor: Tensor) -> Tensor:
    return weights * ops.cast(factor, weights.dtype)


def output_noise(call: KernelCall) -> Tensor | None:
    """Returns the noise that dropout of the fed-back state puts on an LSTM's outputs, or `None`.

    It has shape `(batch, time, units)`, in the order of the outputs: 0 where a unit is dropped, else its
    scale.
    """
    if call.output_scale is None:
        return None
    (dropped,) = (forcing.bits for forcing in call.forcings if ("output", 0) in forcing.gates)
    if call.go_backwards:
        dropped = ops.flip(dropped, axis=1)
    return call.output_scale * (1.0 - ops.cast(dropped, "float32"))


def _feeds_back(call: KernelCall) -> Tensor:
    """Returns whether a later valid step reads the h of each step: booleans `(batch or 1, time, 1)`."""
    if call.mask is None:
        valid = ops.ones_like(call.sequences[:1, :, 0], dtype="int32")
    else:
        valid = ops.cast(call.mask, "int32")  # (batch, time)
    seen = ops.cumsum(valid, axis=1)
    total = ops.sum(valid, axis=1, keepdims=True)
    later = seen - valid if call.go_backwards else total - seen
    return ops.expand_dims(later > 0, axis=-1)


# Dropout of an LSTM's update: its cell keeps what it has, and adds nothing.


def drop_update(call: KernelCall, dropped: Tensor) -> KernelCall:
    """Drops what steps add to the cell of an LSTM, where a bit is set.

        c_t = f_t * c_{t-1} + i_t * (1 - dropped_t) * g_t

    The bits have shape `(batch, time, units)` or `(batch, 1, units)`. They force the input gate to 0, so any
    kernel can do it. Nothing is scaled: inference has the expectation.

    Reference:
        Semeniuta et al. (2016), arXiv 1603.05118.
    """
    forcing = GateForcing(_at_every_step(call, dropped), (("input", 0),))
    return replace(call, forcings=(*call.forcings, forcing))


def expect_update(call: KernelCall, rate: Tensor) -> KernelCall:
    """Replaces each draw of `drop_update` by its expectation, for inference, with a scalar rate."""
    return replace(call, update_missing=rate)


def _at_every_step(call: KernelCall, dropped: Tensor) -> Tensor:
    every_step = ops.ones_like(call.sequences[:, :, :1], dtype="bool")  # (batch, time, 1)
    return ops.cast(ops.logical_and(dropped, every_step), call.initial_state[0].dtype)


# Zoneout: units keep their state for a step.


def zone_out(call: KernelCall, zoned: Tensor, hidden_zoned: Tensor | None) -> KernelCall:
    """Lets units keep their state where a bit, of shape `(batch, time, units)`, is set.

        LSTM:  c_t = c_{t-1} where zoned, else f * c_{t-1} + i * g;   h'_t = o * tanh(c_t)
               h_t = h_{t-1} where hidden_zoned, else h'_t
        GRU:   h_t = h_{t-1} where zoned, else z * h_{t-1} + (1 - z) * n

    The cell of an LSTM and the state of a GRU are kept by forcing gates (input to 0 and forget to 1; update
    to 1), so any kernel can do it. No gate keeps an LSTM's h: that needs the step loop.

    Reference:
        Krueger et al. (2017), "Zoneout", arXiv 1606.01305. There an LSTM's h is computed from the cell
        before zoneout; here from the cell after it, which is also the state of the next step.
    """
    dtype = call.initial_state[0].dtype
    gates = (("input", 0), ("forget", 1)) if call.cell == "lstm" else (("update", 1),)
    forcing = GateForcing(ops.cast(zoned, dtype), gates)  # type: ignore[arg-type]
    kept = None if hidden_zoned is None else ops.cast(hidden_zoned, dtype)
    return replace(call, forcings=(*call.forcings, forcing), hidden_kept=kept)


def expect_zoneout(call: KernelCall, rate: Tensor, hidden_rate: Tensor | None) -> KernelCall:
    """Replaces each draw of `zone_out` by its expectation, for inference, with scalar rates.

        c_t = rate * c_{t-1} + (1 - rate) * (f * c_{t-1} + i * g), and h alike with `hidden_rate`

    Reference:
        Krueger et al. (2017), arXiv 1606.01305, section 3.1.
    """
    if call.cell == "gru":
        return replace(call, hidden_kept=rate)
    return replace(call, cell_kept=rate, hidden_kept=hidden_rate)
