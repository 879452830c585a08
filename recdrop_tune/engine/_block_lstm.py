"""TensorFlow's fused CPU op for a whole LSTM: forward and backward in one op each.

`BlockLSTM` is what TensorFlow has on the CPU where a GPU has cuDNN: the same arguments, gate forcing as
extra features like there. For small layers it is faster than a loop of ops; for large ones the
products dominate, and those of the extra features with them.

Not `BlockLSTMV2`, which takes the gates in Keras's order: in TensorFlow 2.21 its gradients are wrong.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recdrop_tune.engine import _hooks
from recdrop_tune.engine._finish import finish
from recdrop_tune.rewrites import KernelCall, absorb_forcings
from recdrop_tune.rewrites._call import Tensor
from recdrop_tune.rewrites._gates import reorder_gates

# Above these many units the op is slower than the loop, see benchmarks/step_time.py: its products are not
# threaded as well, and each forcing adds one of the size of the recurrent one.
_MOST_UNITS = 64
_MOST_UNITS_FORCED = 32

_GATES = ("input", "candidate", "forget", "output")
"""The order in which the op takes the gates."""


def block_lstm_can_run(call: KernelCall, layer: Any) -> bool:
    """Whether the op computes this call, and is the faster way to do so."""
    if keras.backend.backend() != "tensorflow" or call.cell != "lstm":
        return False
    if call.needs_loop or call.mask is not None or layer.unroll or layer.use_cudnn is False:
        return False
    if call.units > (_MOST_UNITS_FORCED if call.forcings else _MOST_UNITS):
        return False
    if keras.backend.standardize_dtype(call.kernel.dtype) != "float32":
        return False
    standard = layer.activation is keras.activations.tanh
    standard = standard and layer.recurrent_activation is keras.activations.sigmoid
    return standard and _hooks.runs_on_cpu() and not _hooks.in_xla()


def run_block_lstm(call: KernelCall, layer: Any) -> tuple[Tensor, ...]:
    """Runs a call in one op."""
    import tensorflow as tf

    call = absorb_forcings(call)
    sequences = ops.transpose(call.sequences, (1, 0, 2))  # (time, batch, features)
    if call.go_backwards:
        sequences = ops.flip(sequences, axis=0)
    h, c = call.initial_state
    unused = ops.zeros((call.units,))  # peephole weights
    weights = ops.concatenate([call.kernel, call.recurrent_kernel], axis=0)
    bias = ops.zeros((4 * call.units,)) if call.bias is None else call.bias
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
        forget_bias=0.0,  # Keras has it in the bias
        cell_clip=-1.0,  # no clipping
        use_peephole=False,
    )
    outputs = ops.transpose(result.h, (1, 0, 2))
    return finish(call, layer, outputs[:, -1], outputs, [result.h[-1], result.cs[-1]])
