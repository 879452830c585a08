"""Zoneout: units that keep their state for a step."""

from __future__ import annotations

from dataclasses import replace

from keras import ops

from recdrop_tune.rewrites._call import GateForcing, KernelCall, Tensor


def zone_out(call: KernelCall, zoned: Tensor, hidden_zoned: Tensor | None) -> KernelCall:
    """Lets units keep their state where a bit is set.

        LSTM:  c_t = c_{t-1} where zoned, else f * c_{t-1} + i * g;   h'_t = o * tanh(c_t)
               h_t = h_{t-1} where hidden_zoned, else h'_t
        GRU:   h_t = h_{t-1} where zoned, else z * h_{t-1} + (1 - z) * n

    The cell of an LSTM and the state of a GRU are kept by forcing gates (input to 0 and forget to 1;
    update to 1), so any kernel can do it. No gate keeps an LSTM's h: that takes the step loop.

    Args:
        call: The call to rewrite.
        zoned: Booleans `(batch, time, units)` for c (LSTM) or h (GRU).
        hidden_zoned: `None`, or booleans `(batch, time, units)` for the LSTM's h.

    Reference:
        Krueger et al. (2017), "Zoneout", arXiv 1606.01305. There an LSTM's h reads the cell before
        zoneout; here, as in the state that is handed on, after it.
    """
    dtype = call.initial_state[0].dtype
    gates = (("input", 0), ("forget", 1)) if call.cell == "lstm" else (("update", 1),)
    forcing = GateForcing(ops.cast(zoned, dtype), gates)  # type: ignore[arg-type]
    kept = None if hidden_zoned is None else ops.cast(hidden_zoned, dtype)
    return replace(call, forcings=(*call.forcings, forcing), hidden_kept=kept)


def expect_zoneout(call: KernelCall, rate: Tensor, hidden_rate: Tensor | None) -> KernelCall:
    """Replaces each draw of `zone_out` by its expectation, for inference.

        c_t = rate * c_{t-1} + (1 - rate) * (f * c_{t-1} + i * g), and h alike with `hidden_rate`

    Args:
        call: The call to rewrite.
        rate: Scalar: probability that c (LSTM) or h (GRU) is kept.
        hidden_rate: `None`, or the scalar probability that the LSTM's h is kept.

    Reference:
        Krueger et al. (2017), arXiv 1606.01305, section 3.1.
    """
    if call.cell == "gru":
        return replace(call, hidden_kept=rate)
    return replace(call, cell_kept=rate, hidden_kept=hidden_rate)
