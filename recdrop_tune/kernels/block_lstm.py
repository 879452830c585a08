"""TensorFlow's fused CPU op for a whole LSTM: forward and backward in one op each.

`BlockLSTM` is what TensorFlow has on the CPU where a GPU has cuDNN: the same arguments, gate forcing as
extra features like there. For small layers it is faster than a loop of ops; for large ones the
products dominate, and those of the extra features with them.

Not `BlockLSTMV2`, which takes the gates in Keras's order: in TensorFlow 2.21 its gradients are wrong.

Nested tapes and forward mode (`tf.autodiff.ForwardAccumulator`) need a gradient of the op that computes the
gradient, and TensorFlow has none. It is registered here, by TensorFlow's public way to add one; an ordinary
training step does not use it.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from keras import ops

from recdrop_tune.kernels.loop import finish
from recdrop_tune.rewrites import KernelCall, Tensor, absorb_forcings, reorder_gates

# Above these many units the op is slower than the loop, see benchmarks/step_time.py: its products are not
# threaded as well, and each forcing adds one of the size of the recurrent one.
_MOST_UNITS = 64
_MOST_UNITS_FORCED = 32

_GATES = ("input", "candidate", "forget", "output")
"""The order in which the op takes the gates."""


def block_lstm_is_faster(units: int, forced: bool) -> bool:
    """Says whether the op is faster than the step loop.

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
    unused = ops.zeros((call.units,), dtype=call.kernel.dtype)  # peephole weights
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
        forget_bias=0.0,  # Keras has it in the bias
        cell_clip=-1.0,  # no clipping
        use_peephole=False,
    )
    outputs = ops.transpose(result.h, (1, 0, 2))
    return finish(call, layer, outputs[:, -1], outputs, [result.h[-1], result.cs[-1]])


@functools.cache
def _register_second_gradient() -> None:
    import tensorflow as tf

    with contextlib.suppress(KeyError):  # It is registered already: by TensorFlow itself, in time.
        tf.RegisterGradient("BlockLSTMGrad")(_second_gradient)


def _second_gradient(op: Any, *upstream: Any) -> list[Any]:
    """Computes the gradient of the gradient: that of a loop which computes the same, taken twice.

    The gates and states among the op's inputs are functions of the others, so they get no gradients
    themselves: what flows through them is in the gradients of the others.

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
    """Returns all states c and h, each `(time, batch, units)`, of the LSTM that `BlockLSTM` computes."""
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
    """Refuses an op, not made here, with options that `_states` does not know.

    The gradient's op has no argument for a forget bias, for clipping or for another order of the gates:
    but they show in what the forward op has computed.
    """
    import tensorflow as tf

    text = (
        "The gradient of the gradient of TensorFlow's op BlockLSTM is known only without peepholes, forget "
        "bias and clipping, and not of BlockLSTMV2. In a Keras layer, pass `use_cudnn=False`."
    )
    if peephole:
        raise LookupError(text)
    i, cs, f, o, ci, _, hs = computed
    before = [tf.concat([first[None], later[:-1]], 0) for first, later in ((c, cs), (h, hs))]
    expected = [*_gates(x, before[1], w, b), f * before[0] + i * ci]
    valid = (tf.range(tf.shape(x)[0], dtype=length.dtype) < length)[:, None, None]
    for found, wanted in zip([i, ci, f, o, cs], expected, strict=True):
        # Far above the rounding of one step, far below what any of the options does.
        wrong = valid & (tf.abs(found - wanted) > 1e-3 * (1 + tf.abs(wanted)))
        tf.debugging.Assert(tf.logical_not(tf.reduce_any(wrong)), [text])
