r"""Gate forcing: per-sample, per-step noise inside the recurrence of an unmodified kernel.

Mask bits are appended to `sequences` as extra features and constant rows of \(\pm S\) to `kernel`:

    sigmoid([x, bit] @ [W; -S I] + ...) = sigmoid(x W + ...)  where bit = 0
                                        = 0 exactly           where bit = 1

because `sigmoid(-256)` is 0 in float32, bfloat16 and float16. The rows are constants: no variable, no
gradient, never saved. Any kernel that computes an LSTM or GRU computes this, cuDNN's included.
"""

from __future__ import annotations

from dataclasses import replace

import keras
from keras import ops

from recdrop_tune.rewrites._call import GateForcing, KernelCall, Tensor
from recdrop_tune.rewrites._gates import forced_rows

# exp(-256) is 6.6e-112: 0 in float32 (smallest subnormal 1.4e-45), and it leaves 150 of headroom for the
# pre-activation it has to overrule. 256 is a power of two, so it is exact in float16 and bfloat16.
SATURATION = 256.0


def absorb_forcings(call: KernelCall) -> KernelCall:
    """Rewrites gate forcings into extra features and constant kernel rows.

    Args:
        call: A call with `forcings`, each with bits of shape `(batch, time, units)`.

    Returns:
        The same call without `forcings`: `sequences` has `units` more features and `kernel` as many
        more rows for each forcing.
    """
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
