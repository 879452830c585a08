"""Gradients of gradients and forward mode, where a call runs in TensorFlow's fused CPU op."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from recdrop_tune.rewrites import GateForcing, KernelCall
from recdrop_tune.wrappers import RecurrentDropoutWrapper
from tests import reference
from tests.kernels.fused import run_fused, run_loop
from tests.laws.cases import arrays, make_inputs, make_layer

X, STATES = make_inputs("lstm", initial_state=True)


def make_layer_and_call(**options):
    layer = make_layer("lstm", dtype="float32", return_sequences=True, **options)
    weights = [ops.convert_to_tensor(weight.value) for weight in layer.trainable_weights]
    states = tuple(ops.cast(state, "float32") for state in STATES)
    call = KernelCall("lstm", ops.cast(X, "float32"), states, *weights)
    return layer, replace(call, go_backwards=layer.go_backwards)


def direction(like, seed=3):
    return np.random.default_rng(seed).normal(size=like.shape)


def squared(result):
    """A number in which the outputs and the states count, each not in proportion."""
    return sum(tf.reduce_sum(tf.sin(part)) for part in result)


def second_order(function, watched):
    """The gradient of the sum of the squared gradients."""
    with tf.GradientTape() as outer:
        outer.watch(watched)
        with tf.GradientTape() as inner:
            inner.watch(watched)
            value = function()
        gradients = inner.gradient(value, watched)
        total = sum(tf.reduce_sum(gradient**2) for gradient in gradients)
    return outer.gradient(total, watched)


@pytest.mark.parametrize(
    ("go_backwards", "forced", "use_bias"), [(False, False, True), (True, True, False)]
)
def test_the_gradient_of_the_gradient_is_that_of_the_loop(go_backwards, forced, use_bias):
    layer, call = make_layer_and_call(go_backwards=go_backwards, use_bias=use_bias)
    if forced:
        bits = ops.cast(np.random.default_rng(0).random((3, 5, 4)) < 0.5, "float32")
        call = replace(call, forcings=(GateForcing(bits, (("output", 0),)),))
    watched = [call.sequences, *call.initial_state, call.kernel, call.recurrent_kernel]
    watched += [call.bias] if use_bias else []

    def twice(kernel):
        return arrays(second_order(lambda: squared(kernel(call, layer)), watched))

    for one, other in zip(twice(run_fused), twice(run_loop), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())


def in_numpy(sequences, states, weights):
    emitted, (_, c) = reference.run("lstm", sequences, states, *weights)
    last = np.sin(emitted[:, -1]).sum()  # The state h is the last output.
    return np.sin(emitted).sum() + last + np.sin(c).sum()


@pytest.mark.heavy
def test_against_the_definition_in_numpy():
    """Forward mode, and the product of the Hessian with a direction in two ways."""
    layer, call = make_layer_and_call()
    weights = [np.asarray(weight, "float64") for weight in layer.trainable_weights]
    towards = [direction(X), *(direction(weight) for weight in weights)]

    def slope(amount):
        """The derivative in that direction, some way along it."""
        small, values = 1e-5, []
        for place in (amount + small, amount - small):
            moved = [a + place * d for a, d in zip((X, *weights), towards, strict=True)]
            values.append(in_numpy(moved[0], STATES, moved[1:]))
        return (values[0] - values[1]) / (2 * small)

    wanted = slope(0.0), (slope(1e-4) - slope(-1e-4)) / 2e-4
    watched = [call.sequences, call.kernel, call.recurrent_kernel, call.bias]
    tangents = [ops.cast(each, "float32") for each in towards]

    def value():
        return squared(run_fused(call, layer))

    def along(gradients):
        return sum(tf.reduce_sum(a * b) for a, b in zip(gradients, tangents, strict=True))

    with tf.autodiff.ForwardAccumulator(watched, tangents) as forward:
        with tf.GradientTape() as tape:
            tape.watch(watched)
            number = value()
        gradients = tape.gradient(number, watched)
    first = forward.jvp(number), along(gradients)
    curved = along([forward.jvp(gradient) for gradient in gradients])
    with tf.GradientTape() as outer:
        outer.watch(watched)
        with tf.GradientTape() as inner:
            inner.watch(watched)
            number = value()
        again = along(inner.gradient(number, watched))
    second = curved, along(outer.gradient(again, watched))
    np.testing.assert_allclose(arrays(first), wanted[0], rtol=1e-4)
    np.testing.assert_allclose(arrays(second), wanted[1], rtol=1e-3)


def test_a_wrapped_layer_of_unknown_length_and_a_penalty_on_its_gradient():
    """A use of such gradients: a penalty in a custom training step."""
    found = []
    for use_cudnn in ("auto", False):
        layer = keras.layers.LSTM(4, use_cudnn=use_cudnn)
        layer.build((None, None, 2))
        for number, weight in enumerate(layer.trainable_weights):
            weight.assign(0.5 * direction(weight, seed=number))
        wrapped = RecurrentDropoutWrapper(layer, rate=0.3, seed=5)

        @tf.function(input_signature=[tf.TensorSpec((None, None, 2))])
        def step(x, wrapped=wrapped):
            with tf.GradientTape() as outer:
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    value = tf.reduce_sum(wrapped(x, training=True) ** 2)
                penalty = tf.reduce_sum(inner.gradient(value, x) ** 2)
            return outer.gradient(penalty, wrapped.trainable_variables)

        if use_cudnn == "auto":
            names = {op.type for op in step.get_concrete_function().graph.get_operations()}
            assert "BlockLSTM" in names
        else:  # The loop's graph takes seconds to trace.
            step = step.python_function
        found.append(arrays(step(ops.cast(X, "float32"))))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"forget_bias": 1.0}, {"use_peephole": True}, {}],
    ids=str,
)
def test_an_op_of_others_with_other_options_is_refused(options):
    """The op's gradient has no options: it must not be taken for ours."""
    run_fused(*reversed(make_layer_and_call()))  # Registers the gradient.
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(5, 3, 2)), tf.float32)
    w = tf.constant(random.normal(size=(6, 16)), tf.float32)
    zeros = tf.zeros((3, 4))
    arguments = {
        "seq_len_max": tf.constant(4, tf.int64),
        "x": x,
        "cs_prev": zeros,
        "h_prev": zeros,
        "w": w,
        **dict.fromkeys(("wci", "wcf", "wco"), tf.ones(4)),
        "b": tf.zeros(16),
        **{"forget_bias": 0.0, "cell_clip": -1.0, "use_peephole": False, **options},
    }

    def twice():
        return second_order(lambda: squared(tf.raw_ops.BlockLSTM(**arguments)[6:]), [x, w])

    if options:
        with pytest.raises((LookupError, tf.errors.InvalidArgumentError), match="use_cudnn=False"):
            twice()
    else:  # The last step, after the longest sequence, computes nothing.
        in_x, in_w = arrays(twice())
        assert np.abs(in_x[:4]).min() > 0
        assert np.abs(in_x[4]).max() == 0
        assert np.isfinite(in_w).all()
