"""Tests for the descriptions of data sets, as plain data and as MLflow's entities."""

import json
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from mlflow.tracking import MlflowClient

from recdrop_tune.events import SearchStarted, from_json, to_json
from recdrop_tune.mlflow_store.datasets import dataset_inputs, describe_data
from tests.small_search import Batches, data


def one(value):
    [described] = describe_data({"training": value})
    return described


def test_arrays():
    described = one(data())
    assert described["name"] == described["context"] == "training"
    assert described["source_type"] == "code"
    profile = json.loads(described["profile"])
    assert profile["features_shape"] == [24, 5, 3]
    assert profile["targets_size"] == 24
    schema = json.loads(described["schema"])["mlflow_tensorspec"]
    assert json.loads(schema["features"])[0]["tensor-spec"] == {
        "dtype": "float32",
        "shape": [-1, 5, 3],
    }


def test_the_digest_tells_data_apart():
    x, y = data()
    other = x.copy()
    other[-1, -1, -1] += 1
    digests = [
        one(each)["digest"]
        for each in [(x, y), (other, y), (x, 1 - y), (x[:12], y[:12]), (x.astype("float64"), y)]
    ]
    assert len(set(digests)) == len(digests)
    assert one((x.copy(), y))["digest"] == digests[0]
    assert one((np.asfortranarray(x), y))["digest"] == digests[0]


def test_text_is_told_apart_by_its_words():
    words = [np.array(["a", "b"], dtype=object), np.array(["a", "c"], dtype=object)]
    assert len({one((each, np.zeros(2)))["digest"] for each in words}) == 2


def test_large_arrays_cost_little():
    x = np.zeros((2_000_000, 16), "float32")
    started = time.perf_counter()
    one((x.reshape(16, 2_000_000).T, x[:, 0]))
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    "x", [{"a": np.zeros((4, 2)), "b": np.zeros(4)}, [np.zeros((4, 2)), np.zeros(4)]]
)
def test_several_inputs(x):
    described = one((x, np.zeros(4)))
    shapes = json.loads(described["profile"])["features_shape"]
    assert list(shapes.values()) == [[4, 2], [4]]


def test_tensors():
    x, y = data()
    tensors = one((tf.constant(x), tf.constant(y)))
    assert tensors == one((x, y))


def test_tf_data_is_described_and_not_read():
    x, y = data()

    def reading():
        raise AssertionError("it was read")
        yield x[0], y[0]

    spec = (tf.TensorSpec((5, 3), tf.float32), tf.TensorSpec((), tf.int64))
    described = one(tf.data.Dataset.from_generator(reading, output_signature=spec).batch(8))
    schema = json.loads(described["schema"])["mlflow_tensorspec"]
    assert json.loads(schema["features"])[0]["tensor-spec"]["shape"] == [-1, 5, 3]
    assert json.loads(described["profile"])["batches"] is None
    known = one(tf.data.Dataset.from_tensor_slices((x, y)).batch(8))
    assert json.loads(known["profile"])["batches"] == 3
    assert known["digest"] != described["digest"]


def test_tf_data_with_several_inputs():
    x, y = data()
    described = one(tf.data.Dataset.from_tensor_slices(({"a": x, "b": x}, y)).batch(8))
    features = json.loads(json.loads(described["schema"])["mlflow_tensorspec"]["features"])
    assert [each["name"] for each in features] == ["a", "b"]


def test_py_dataset():
    profile = json.loads(one(Batches())["profile"])
    assert profile["batches"] == 2
    assert profile["kind"].endswith("Batches")


def test_whatever_else_there_is_does_no_harm():
    class Strange(keras.utils.PyDataset):
        def __len__(self):
            raise ValueError("no")

    assert json.loads(one(Strange())["profile"])["kind"].endswith("Strange")
    assert one((object(), None))["name"] == "training"
    assert describe_data({"validation": None}) == []


def test_mlflow_takes_them_and_gives_them_back(planted_uri):
    described = describe_data({"training": data(), "validation": Batches()})
    event = SearchStarted(
        search_id="1",
        name="n",
        experiment="datasets",
        tuner="t",
        objective="o",
        direction="min",
        data=described,
    )
    assert from_json(to_json(event)) == event
    client = MlflowClient(planted_uri)
    run = client.create_run(client.create_experiment("datasets"))
    for _ in range(2):  # Twice does no harm.
        client.log_inputs(run.info.run_id, dataset_inputs(event.data))
    inputs = client.get_run(run.info.run_id).inputs.dataset_inputs
    found = {each.tags[0].value: each.dataset for each in inputs}
    assert set(found) == {"training", "validation"}
    assert len(inputs) == 2
    assert found["training"].digest == described[0]["digest"]
    assert found["training"].profile == described[0]["profile"]
