"""TensorFlow's fused CPU op for a whole LSTM: forward and backward in one op each.

`BlockLSTM` is TensorFlow's counterpart to cuDNN on the CPU: it has the same arguments, and gates are forced
by extra features too. For small layers it is faster than a loop of ops. For large ones the matrix products
dominate, including those of the extra features.

`BlockLSTMV2`, which takes the gates in Keras's order, has wrong gradients in TensorFlow 2.21.

Nested tapes and forward mode (`tf.autodiff.ForwardAccumulator`) need a gradient of the op that computes the
gradient, which TensorFlow lacks. It is registered here with TensorFlow's public function. An ordinary
training step does not use it.
"""

from __future__ import annotations

import contextlib
import functools
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
    """Returns whether the op is faster than the step loop.

    Args:
        units: Units of the layer.
        forced: Whether gates are forced.
    """
    return units <= (_MOST_UNITS_FORCED if forced else _MOST_UNITS)


def run_block_lstm(call: KernelCall, layer: Any) -> tuple[Tensor, ...]:
    """Runs a call in one op."""
    import tensorflow as tf

    _register_second_gradient()
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


@functools.cache
def _register_second_gradient() -> None:
    import tensorflow as tf

    with contextlib.suppress(KeyError):  # A later TensorFlow might register its own.
        tf.RegisterGradient("BlockLSTMGrad")(_second_gradient)


def _second_gradient(op: Any, *upstream: Any) -> list[Any]:
    """Computes the gradient of the gradient by differentiating an equivalent loop twice.

    The gates and states among the op's inputs are functions of the other inputs, so their own gradients
    are None: their share is in the gradients of the other inputs.

    Args:
        op: The `BlockLSTMGrad`.
        upstream: Gradients of its outputs: of the sequences, c, h, weights, three peepholes, the bias.
    """
    import tensorflow as tf

    length, x, c, h, w, _, _, _, b, *computed, cs_grad, h_grad = op.inputs
    _check_options(op.get_attr("use_peephole"), length, x, c, h, w, b, computed)
    inputs, incoming = [x, c, h, w, b], [cs_grad, h_grad]
    with tf.GradientTape() as second:
        second.watch([*inputs, *incoming])
        with tf.GradientTape() as first:
            first.watch(inputs)
            states = _states(length, *inputs)
        gradients = first.gradient(states, inputs, output_gradients=incoming)
    asked = [
        tf.zeros_like(value) if gradient is None else gradient
        for value, gradient in zip(inputs, (*upstream[:4], upstream[7]), strict=True)
    ]
    *found, of_cs_grad, of_h_grad = second.gradient(
        gradients, [*inputs, *incoming], output_gradients=asked
    )
    of_x, of_c, of_h, of_w, of_b = found
    peepholes, of_computed = [None] * 3, [None] * len(computed)
    return [None, of_x, of_c, of_h, of_w, *peepholes, of_b, *of_computed, of_cs_grad, of_h_grad]


def _states(length: Tensor, x: Tensor, c: Tensor, h: Tensor, w: Tensor, b: Tensor) -> list[Tensor]:
    """Returns all states c and h of the LSTM, each `(time, batch, units)`."""
    import tensorflow as tf

    def step(states: Any, features: Tensor) -> tuple[Tensor, Tensor]:
        c, h = states
        i, ci, f, o = _gates(features, h, w, b)
        c = f * c + i * ci
        return c, o * tf.tanh(c)

    states = tf.scan(step, x, (c, h))
    valid = tf.range(tf.shape(x)[0], dtype=length.dtype) < length
    return [tf.where(valid[:, None, None], state, 0) for state in states]


def _gates(features: Tensor, h: Tensor, w: Tensor, b: Tensor) -> list[Tensor]:
    import tensorflow as tf

    i, ci, f, o = tf.split(tf.matmul(tf.concat([features, h], -1), w) + b, 4, axis=-1)
    return [tf.sigmoid(i), tf.tanh(ci), tf.sigmoid(f), tf.sigmoid(o)]


def _check_options(
    peephole: bool,
    length: Tensor,
    x: Tensor,
    c: Tensor,
    h: Tensor,
    w: Tensor,
    b: Tensor,
    computed: list[Tensor],
) -> None:
    """Refuses ops of other code, with options that `_states` does not implement.

    The op of the gradient has no arguments for the forget bias, clipping or another order of the gates, but
    the results of the forward op show them.
    """
    import tensorflow as tf

    text = (
        "The gradient of the gradient of TensorFlow's op BlockLSTM is implemented only without peepholes, "
        "forget bias and clipping, and not for BlockLSTMV2. In a Keras layer, pass `use_cudnn=False`."
    )
    if peephole:
        raise LookupError(text)
    i, cs, f, o, ci, _, hs = computed
    before = [tf.concat([first[None], later[:-1]], 0) for first, later in ((c, cs), (h, hs))]
    expected = [*_gates(x, before[1], w, b), f * before[0] + i * ci]
    valid = (tf.range(tf.shape(x)[0], dtype=length.dtype) < length)[:, None, None]
    for found, wanted in zip([i, ci, f, o, cs], expected, strict=True):
        # Far above the rounding errors of one step, far below the effect of any option.
        wrong = valid & (tf.abs(found - wanted) > 1e-3 * (1 + tf.abs(wanted)))
        tf.debugging.Assert(tf.logical_not(tf.reduce_any(wrong)), [text])
