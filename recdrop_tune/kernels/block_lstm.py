"""TensorFlow's fused CPU op for a whole LSTM: forward and backward in one op each.

`BlockLSTM` is TensorFlow's counterpart to cuDNN on the CPU: it has the same arguments, and gates are forced
by extra features too. For small layers it is faster than a loop of ops. For large ones the matrix products
dominate, including those of the extra features.

`BlockLSTMV2`, which takes the gates in Keras's order, has wrong gradients in TensorFlow 2.21.

TensorFlow has neither a gradient of the op's gradient nor forward mode for it: pass `use_cudnn=False` to the
layer for them.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from recdrop_tune.kernels.loop import finish
from recdrop_tune.rewrites import KernelCall, Tensor, absorb_forcings, reorder_gates

# With more units the op is slower than the loop (benchmarks/step_time.py): its products use threads less
# well, and each forcing adds a product of the size of the recurrent one.
_MOST_UNITS = 64
_MOST_UNITS_FORCED = 32

_GATES = ("input", "candidate", "forget", "output")
"""The order of the gates in the op."""


def block_lstm_is_faster(units: int, forced: bool) -> bool:
    """Returns whether the op is faster than the step loop; `forced` is whether gates are forced."""
    return units <= (_MOST_UNITS_FORCED if forced else _MOST_UNITS)


def run_block_lstm(call: KernelCall, layer: Any) -> tuple[Tensor, ...]:
    """Runs a call in one op."""
    import tensorflow as tf

    call = absorb_forcings(call)
    sequences = ops.transpose(call.sequences, (1, 0, 2))  # (time, batch, features)
    if call.go_backwards:
        sequences = ops.flip(sequences, axis=0)
    h, c = call.initial_state
    unused = ops.zeros((call.units,), dtype=call.kernel.dtype)  # Peephole weights.
    weights = ops.concatenate([call.kernel, call.recurrent_kernel], axis=0)
    bias = call.bias
    if bias is None:
        bias = ops.zeros((4 * call.units,), dtype=call.kernel.dtype)
    result = tf.raw_ops.BlockLSTM(
        seq_len_max=tf.cast(tf.shape(sequences)[0], tf.int64),
        x=sequences,
        cs_prev=c,
        h_prev=h,
        w=reorder_gates(weights, "lstm", _GATES),
        wci=unused,
        wcf=unused,
        wco=unused,
        b=reorder_gates(bias, "lstm", _GATES),
        forget_bias=0.0,  # Keras has it in the bias.
        cell_clip=-1.0,  # No clipping.
        use_peephole=False,
    )
    outputs = ops.transpose(result.h, (1, 0, 2))
    return finish(call, layer, outputs[:, -1], outputs, [result.h[-1], result.cs[-1]])
