"""The internals of Keras that the kernels need, and forced gates on each kernel."""

import inspect
import re
import sys
from dataclasses import replace
from importlib.util import find_spec, module_from_spec
from types import ModuleType

import keras
import numpy as np
import pytest
from keras import ops

from recdrop_tune.kernels import keras_internals, run, sublayers
from recdrop_tune.rewrites import GateForcing, KernelCall, absorb_forcings, chain, drop_recurrent
from recdrop_tune.wrappers import wrap
from tests.backends import PRECISE, on_tensorflow
from tests.kernels.fused import run_fused, run_loop
from tests.laws.cases import arrays, make_inputs, make_layer

KERNEL_ARGUMENTS = {
    "mask",
    "kernel",
    "recurrent_kernel",
    "bias",
    "activation",
    "recurrent_activation",
    "return_sequences",
    "go_backwards",
    "unroll",
}
"""The arguments passed to cuDNN by name."""


def test_keras_still_has_the_kernels_and_they_take_what_is_passed():
    lstm = inspect.signature(keras_internals.lstm).parameters
    gru = inspect.signature(keras_internals.gru).parameters
    assert list(lstm)[:4] == ["inputs", "initial_state_h", "initial_state_c", "mask"]
    assert list(gru)[:3] == ["inputs", "initial_state", "mask"]
    assert set(lstm) >= KERNEL_ARGUMENTS
    assert set(gru) >= KERNEL_ARGUMENTS | {"reset_after"}


def test_keras_still_has_the_loop_and_the_check():
    rnn = inspect.signature(keras_internals.rnn).parameters
    assert list(rnn)[:3] == ["step_function", "inputs", "initial_states"]
    assert set(rnn) >= {
        "go_backwards",
        "mask",
        "unroll",
        "input_length",
        "zero_output_for_mask",
        "return_all_outputs",
    }
    check = inspect.signature(keras_internals.cudnn_ok).parameters
    assert set(check) >= {"activation", "recurrent_activation", "unroll", "use_bias"}


def test_keras_layers_still_hand_their_kernel_these_names():
    """The wrappers read these attributes of a layer and its cell."""
    for layer in (keras.layers.LSTM(2), keras.layers.GRU(2)):
        layer.build((1, 2, 3))
        for name in ("kernel", "recurrent_kernel", "bias", "compute_dtype"):
            assert hasattr(layer.cell, name)
        for name in ("activation", "recurrent_activation", "use_bias", "unroll", "use_cudnn"):
            assert hasattr(layer, name)
        assert hasattr(layer, "zero_output_for_mask")


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


def make_call(cell, layer, dtype):
    sequences, states = make_inputs(cell, initial_state=True)
    weights = [ops.cast(weight.value, dtype) for weight in layer.trainable_weights]
    return KernelCall(
        cell, ops.cast(sequences, dtype), tuple(ops.cast(s, dtype) for s in states), *weights
    )


@pytest.mark.parametrize("dtype", sorted({"float16", "bfloat16", "float32", PRECISE}))
@pytest.mark.parametrize(
    ("cell", "gates"),
    [
        ("lstm", (("output", 0),)),
        ("lstm", (("input", 0), ("forget", 1))),
        ("gru", (("reset", 0),)),
        ("gru", (("update", 1),)),
    ],
    ids=str,
)
def test_forcing_by_extra_features_is_forcing_the_gate(cell, gates, dtype):
    """What cuDNN is given (features and constant rows) computes what the loop does to the gate."""
    layer = make_layer(cell, dtype="float32", return_sequences=True)
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
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("use_bias", [True, False])
def test_the_fused_cpu_op_is_the_loop(forced, go_backwards, use_bias):
    """Outputs, states and gradients."""
    import tensorflow as tf

    options = {"return_sequences": True, "go_backwards": go_backwards, "use_bias": use_bias}
    layer = make_layer("lstm", dtype="float32", **options)
    call = replace(make_call("lstm", layer, "float32"), go_backwards=go_backwards)
    if forced:
        bits = ops.cast(np.random.default_rng(0).random((3, 5, 4)) < 0.5, "float32")
        call = replace(call, forcings=(GateForcing(bits, (("output", 0),)),))
    watched = [call.sequences, *call.initial_state, call.kernel, call.recurrent_kernel]
    found = []
    for kernel in (run_fused, run_loop):
        with tf.GradientTape() as tape:
            tape.watch(watched)
            result = kernel(call, layer)
            loss = sum(ops.sum(ops.sin(part)) for part in result)
        found.append([*arrays(result), *arrays(tape.gradient(loss, watched))])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@on_tensorflow
@pytest.mark.parametrize(
    ("layer", "fused"),
    [
        (keras.layers.LSTM(32), True),
        (keras.layers.LSTM(32, activation="relu"), False),
        (keras.layers.LSTM(32, unroll=True), False),
        (keras.layers.LSTM(32, use_cudnn=False), False),
        (keras.layers.LSTM(32, dtype="float64"), False),
        (keras.layers.LSTM(512), False),
        (keras.layers.GRU(32), False),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_who_runs_in_the_fused_cpu_op(layer, fused):
    import tensorflow as tf

    wrapped = wrap(layer, "recurrent", rate=0.3)
    wrapped.build((2, 5, 3))
    graph = tf.function(lambda x: wrapped(x, training=True)).get_concrete_function(
        tf.ones((2, 5, 3))
    )
    operations = {operation.type for operation in graph.graph.get_operations()}
    assert ("BlockLSTM" in operations) == fused
    if fused:
        assert not [name for name in operations if "While" in name]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_saturated_gate_overrules_large_pre_activations(cell):
    layer = make_layer(cell, dtype="float32")
    for weight in layer.trainable_weights:
        weight.assign(np.array(weight) * 40)
    call = make_call(cell, layer, "float32")
    gate = "output" if cell == "lstm" else "reset"
    forced = KernelCall(
        **{**vars(call), "forcings": (GateForcing(ops.ones((3, 5, 4)), ((gate, 0),)),)}
    )
    for one, other in zip(
        arrays(run(forced, layer)), arrays(run(absorb_forcings(forced), layer)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_absorbing_nothing_changes_nothing():
    call = make_call("lstm", make_layer("lstm"), "float32")
    assert absorb_forcings(call) is call


def test_chain_is_the_same_steps_by_hand():
    layer = make_layer("gru", return_sequences=True)
    call = make_call("gru", layer, PRECISE)
    masks = [np.random.default_rng(i).random((3, 5, 4)) < 0.4 for i in range(2)]

    def drop(mask):
        return lambda c: drop_recurrent(c, ops.array(mask), ops.zeros((3, 4), bool), 0.4)

    first, second = drop(masks[0]), drop(masks[1])
    by_hand = run(second(first(call)), layer)
    for one, other in zip(
        arrays(by_hand), arrays(run(chain(first, second)(call), layer)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert chain()(call) is call


def test_keras_still_tells_the_layers_inside_a_layer():
    inner = keras.layers.LSTM(2)
    outer = keras.layers.TimeDistributed(keras.layers.Bidirectional(inner))
    assert sublayers(outer) == [outer.layer]
    assert inner not in sublayers(outer)
    assert {type(layer) for layer in sublayers(outer.layer)} == {keras.layers.LSTM}


def test_a_keras_whose_kernels_are_elsewhere_is_named(monkeypatch):
    rnn = f"keras.src.backend.{keras.backend.backend()}.rnn"
    monkeypatch.setitem(sys.modules, rnn, ModuleType(rnn))
    spec = find_spec(keras_internals.__name__)
    with pytest.raises(ImportError, match=f"{re.escape(keras.__version__)}, which has moved"):
        spec.loader.exec_module(module_from_spec(spec))
