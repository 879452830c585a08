"""`model.export`: the exported model does not need this package, and predicts the same."""

import os
import subprocess
import sys
from collections import Counter

import keras
import numpy as np
import pytest

from recdrop_tune.models import to_plain
from tests.cudnn import ops_of, see_a_gpu
from tests.laws.cases import WIDEST, gru_for, make_wrapper

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel is TensorFlow's", allow_module_level=True)

import tensorflow as tf

WRAPPERS = {wrapper[0]: wrapper for wrapper in WIDEST}
"""Each technique once, with its last option."""

SERVE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "recdrop_tune":
            raise ImportError("blocked")
sys.meta_path.insert(0, Blocked())
import numpy as np, tensorflow as tf
loaded = tf.saved_model.load("model")
graph = loaded.signatures["serving_default"].graph.as_graph_def()
nodes = [*graph.node, *(node for part in graph.library.function for node in part.node_def)]
noise = [node.name for node in nodes if "Random" in node.op]
assert len(nodes) > 100 and not noise, noise
outputs = loaded.serve(tf.constant(np.load("inputs.npy")))
np.savez("served", **{name: output.numpy() for name, output in outputs.items()})
"""
"""Loads an exported model, looks for noise in it, and saves its predictions."""


def padded_in_every_way():
    x = np.random.default_rng(0).normal(size=(5, 7, 2)).astype("float32")
    x[1, 4:] = 0  # on the right
    x[2, :3] = 0  # on the left
    x[3, 2:4] = 0  # in between
    x[4] = 0
    return x


def make_model():
    """One model with outputs for each technique and cell: exporting a model for each takes minutes."""
    inputs = keras.Input((None, 2))
    masked = keras.layers.Masking()(inputs)
    outputs = {}
    for technique in WRAPPERS:
        for kind in dict.fromkeys([keras.layers.LSTM, gru_for(WRAPPERS[technique])]):
            layer = make_wrapper(kind(3), WRAPPERS[technique])
            outputs[f"{technique}_{kind.__name__}"] = layer(inputs)
            outputs[f"{technique}_{kind.__name__}_masked"] = layer(masked)
            layer.rate = 0.25  # Inference of zoneout and update uses the current rate.
    return keras.Model(inputs, outputs)


@pytest.mark.heavy
def test_an_exported_model_predicts_the_same(tmp_path):
    model, x = make_model(), padded_in_every_way()
    np.save(tmp_path / "inputs", x)
    model.export(tmp_path / "model", verbose=False)
    command = [sys.executable, "-c", SERVE]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
    # Without a graph: to trace this model takes longer.
    served, predicted = np.load(tmp_path / "served.npz"), model(x, training=False)
    assert set(served) == set(predicted)
    for output, array in predicted.items():
        np.testing.assert_allclose(served[output], array, rtol=1e-6, atol=1e-7, err_msg=output)


def test_a_copy_without_cudnn_has_the_step_loop_in_every_layer(monkeypatch):
    """Keras is made to see a GPU. tf2onnx has no `CudnnRNNV3`."""
    see_a_gpu(monkeypatch)
    inputs = keras.Input((7, 2))
    wrapped = make_wrapper(keras.layers.LSTM(3, return_sequences=True), WRAPPERS["recurrent"])
    inside = make_wrapper(keras.layers.GRU(3, return_sequences=True), WRAPPERS["variational"])
    sides = keras.layers.Bidirectional(inside)
    plain = keras.layers.Bidirectional(keras.layers.LSTM(2))
    model = keras.Model(inputs, plain(sides(wrapped(inputs))))

    def operations(**options):
        call = tf.function(to_plain(model, **options))
        spec = tf.TensorSpec((None, 7, 2), "float32")
        return Counter(ops_of(call.get_concrete_function(spec, training=False)))

    assert operations()["CudnnRNNV3"] == 5
    without = operations(use_cudnn=False)
    assert not [name for name in without if "Cudnn" in name]
    assert sum(count for name, count in without.items() if "While" in name) == 5


SERVE_ELSEWHERE = """
import warnings
import keras, numpy as np, recdrop_tune

warnings.simplefilter("ignore")  # tf2onnx warns about NumPy, TensorFlow about its interpreter.
model, x = keras.models.load_model("model.keras"), np.load("inputs.npy")
portable = recdrop_tune.to_plain(model, use_cudnn=False)
served = {"model": portable.predict(x, verbose=0)}

one = [keras.InputSpec(shape=(1, *x.shape[1:]), dtype="float32", name="inputs")]
portable.export("model.tflite", format="litert", verbose=False, input_signature=one)
import tensorflow as tf

lite = tf.lite.Interpreter(model_path="model.tflite")
lite.allocate_tensors()
(taken,), (given,) = lite.get_input_details(), lite.get_output_details()
served["litert"] = []
for sample in x:
    lite.set_tensor(taken["index"], sample[None])
    lite.invoke()
    served["litert"].append(lite.get_tensor(given["index"])[0])

portable.export("model.onnx", format="onnx", verbose=False)
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
(served["onnx"],) = session.run(None, {session.get_inputs()[0].name: x})
np.savez("served.npz", **served)
"""
"""Exports a model and predicts with the exported files, in a process that loads their libraries."""


@pytest.mark.heavy
def test_other_formats_predict_the_same(tmp_path):
    """LiteRT has one batch size, or Keras's loop would need TensorFlow's ops there."""
    inputs = keras.Input((7, 2))
    wrapped = make_wrapper(keras.layers.LSTM(3, return_sequences=True), WRAPPERS["recurrent"])
    hidden = make_wrapper(keras.layers.GRU(3), WRAPPERS["variational"])(wrapped(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(4, 7, 2)).astype("float32")
    np.save(tmp_path / "inputs", x)
    command = [sys.executable, "-c", SERVE_ELSEWHERE]
    subprocess.run(command, check=True, cwd=tmp_path)
    served, predicted = np.load(tmp_path / "served.npz"), model.predict(x, verbose=0)
    assert set(served) == {"model", "litert", "onnx"}
    for name in served:
        assert np.allclose(served[name], predicted, atol=1e-6), name
