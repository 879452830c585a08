"""The internals of Keras that the kernels need, and forced gates on each kernel."""

import re
import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType

import keras
import numpy as np
import pytest
from keras import ops

from recdrop_tune.kernels import keras_internals, run
from recdrop_tune.rewrites import GateForcing, KernelCall, absorb_forcings
from recdrop_tune.wrappers import wrap
from tests.backends import PRECISE, on_tensorflow
from tests.laws.cases import arrays, make_inputs, make_layer


@pytest.mark.heavy
@on_tensorflow
def test_tensorflow_still_tells_when_it_traces_for_xla():
    import tensorflow as tf

    seen = []

    def body(x):
        seen.append(keras_internals.is_compiled())
        return x

    tf.function(body, jit_compile=True)(tf.ones(()))
    tf.function(body)(tf.ones(()))
    body(tf.ones(()))
    assert seen == [True, False, False]


@pytest.mark.heavy
@on_tensorflow
def test_xla_reserves_memory_for_the_steps_that_there_are():
    """The bound of a loop of unknown length was the largest integer, and XLA reserves that many steps."""
    import tensorflow as tf

    layer = wrap(keras.layers.LSTM(3, return_sequences=True), "recurrent", rate=0.3)
    layer.build((None, None, 2))

    @tf.function(jit_compile=True, input_signature=[tf.TensorSpec((None, None, 2))])
    def gradient(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=True) ** 2)
        return tape.gradient(loss, layer.layer.trainable_weights[0].value)

    assert np.isfinite(gradient(tf.ones((4, 5, 2)))).all()


def test_a_wrapper_in_half_precision_does_not_round_the_weights_of_its_layer():
    layer = keras.layers.LSTM(3, dtype="float32")
    wrapper = wrap(layer, "recurrent", rate=0.3, dtype="mixed_float16")
    x = np.ones((4, 5, 2), "float32")
    expected = keras.ops.convert_to_numpy(layer(x))
    wrapper.build(x.shape)
    wrapper.rate = 0.0
    found = keras.ops.convert_to_numpy(wrapper(x, training=True))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def make_call(cell, layer, dtype):
    sequences, states = make_inputs(cell, initial_state=True)
    weights = [ops.cast(weight.value, dtype) for weight in layer.trainable_weights]
    return KernelCall(
        cell, ops.cast(sequences, dtype), tuple(ops.cast(s, dtype) for s in states), *weights
    )


GATES = [
    ("lstm", (("output", 0),)),
    ("lstm", (("input", 0), ("forget", 1))),
    ("gru", (("reset", 0),)),
    ("gru", (("update", 1),)),
]


LARGE = 40
"""Weights with which pre-activations saturate; a forced gate overrules them too."""


@pytest.mark.parametrize(
    ("cell", "gates", "dtype", "scale"),
    [
        *((*gate, PRECISE, 1) for gate in GATES),
        (*GATES[0], "float16", 1),
        (*GATES[2], "bfloat16", 1),
        (*GATES[0], PRECISE, LARGE),
        (*GATES[3], PRECISE, LARGE),
    ],
    ids=str,
)
def test_forcing_by_extra_features_is_forcing_the_gate(cell, gates, dtype, scale):
    """What cuDNN is given (features and constant rows) computes what the loop does to the gate."""
    layer = make_layer(cell, dtype="float32", return_sequences=True)
    for weight in layer.trainable_weights:
        weight.assign(scale * weight)
    call = make_call(cell, layer, dtype)
    bits = np.random.default_rng(0).random((3, 5, 4)) < 0.5
    forcings = (GateForcing(ops.cast(bits, dtype), gates),)
    forced = KernelCall(**{**vars(call), "forcings": forcings})
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 1e-6, "float64": 1e-12}[dtype]
    absorbed = absorb_forcings(forced)
    assert absorbed.sequences.shape == (3, 5, 2 + 4)
    assert absorbed.forcings == ()
    for one, other in zip(arrays(run(forced, layer)), arrays(run(absorbed, layer)), strict=True):
        np.testing.assert_allclose(
            one.astype("float64"), other.astype("float64"), rtol=tolerance, atol=tolerance
        )


@on_tensorflow
def test_gradients_of_gradients_need_the_loop():
    """A penalty on the gradient, as in a custom training step."""
    import tensorflow as tf

    x = tf.constant(np.random.default_rng(0).normal(size=(2, 3, 2)), "float32")

    def gradients_of_penalty(use_cudnn):
        layer = make_layer("lstm", dtype="float32", use_cudnn=use_cudnn)
        wrapped = wrap(layer, "recurrent", rate=0.3, seed=5)
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(x)
                value = tf.reduce_sum(wrapped(x, training=True) ** 2)
            penalty = tf.reduce_sum(inner.gradient(value, x) ** 2)
        return arrays(outer.gradient(penalty, wrapped.trainable_variables))

    with pytest.raises(LookupError, match="BlockLSTMGrad"):
        gradients_of_penalty("auto")
    assert all(gradient.any() for gradient in gradients_of_penalty(use_cudnn=False))


def test_a_keras_whose_kernels_are_elsewhere_is_named(monkeypatch):
    rnn = f"keras.src.backend.{keras.backend.backend()}.rnn"
    monkeypatch.setitem(sys.modules, rnn, ModuleType(rnn))
    spec = find_spec(keras_internals.__name__)
    with pytest.raises(ImportError, match=f"{re.escape(keras.__version__)}, which has moved"):
        spec.loader.exec_module(module_from_spec(spec))
