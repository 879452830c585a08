"""Tests for the descriptions of data sets, as plain data and as MLflow's entities."""

import json
import sys

import numpy as np
import tensorflow as tf
from mlflow.data import from_numpy
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.tracking import MlflowClient

from recdrop_tune.data_description import describe_data
from recdrop_tune.events import from_json, to_json
from recdrop_tune.mlflow_store.runs import dataset_inputs
from tests.small_search import Batches, data
from tests.tracked_events import started


def one(value):
    [described] = describe_data({"training": value})
    return described


def test_arrays():
    x, y = data()
    source = CodeDatasetSource({"mlflow.source.name": sys.argv[0]})
    several = {"b": x, "a": np.array(["a", "bc"] * 12)}
    for features, targets in ((x, y), (several, y.astype("float64")), (x, np.float32(1))):
        described = one((features, targets))
        name, digest = "training", described["digest"]
        about = {"source": source, "name": name, "digest": digest}
        mlflows = from_numpy(features, targets=np.asarray(targets), **about).to_dict()
        assert described == {"context": name, **mlflows}
    assert one(tuple(map(tf.constant, data()))) == one(data())


def test_the_digest_tells_data_apart():
    x, y = data()
    other = x.copy()
    other[-1, -1, -1] += 1
    digests = [
        one(each)["digest"]
        for each in [(x, y), (other, y), (x, 1 - y), (x[:12], y[:12]), (x.astype("float64"), y)]
    ]
    large = np.zeros((3, 2000, 60)), np.zeros(3)  # Each sample has more values than are read.
    changed = large[0].copy()
    changed[-1] = 1
    digests += [one((each, large[1]))["digest"] for each in (large[0], changed)]
    words = [np.array(["a", "b"], dtype=object), np.array(["a", "c"], dtype=object)]
    digests += [one((each, y[:2]))["digest"] for each in words]
    assert len(set(digests)) == len(digests)
    assert one((x.copy(), y))["digest"] == digests[0]
    assert one((np.asfortranarray(x), y))["digest"] == digests[0]


def test_several_inputs():
    for x in ({"a": np.zeros((4, 2)), "b": np.zeros(4)}, [np.zeros((4, 2)), np.zeros(4)]):
        shapes = json.loads(one((x, np.zeros(4)))["profile"])["features_shape"]
        assert list(shapes.values()) == [[4, 2], [4]]


def test_tf_data_is_described_and_not_read():
    x, y = data()

    def reading():
        raise AssertionError("it was read")
        yield {"a": x[0], "b": x[0]}, y[0]

    spec = ({"a": tf.TensorSpec((5, 3)), "b": tf.TensorSpec((5, 3))}, tf.TensorSpec((), tf.int64))
    described = one(tf.data.Dataset.from_generator(reading, output_signature=spec).batch(8))
    profile = json.loads(described["profile"])
    assert "TensorSpec(shape=(None, 5, 3)" in profile["elements"]
    assert profile["batches"] is None
    known = one(tf.data.Dataset.from_tensor_slices((x, y)).batch(8))
    assert json.loads(known["profile"])["batches"] == 3
    assert known["digest"] != described["digest"]


def test_whatever_else_there_is_does_no_harm():
    class Strange(Batches):
        def __len__(self):
            raise ValueError("no")

    for each, batches in ((Batches(), 2), (Strange(), None)):
        profile = json.loads(one(each)["profile"])
        assert (profile["kind"].rpartition(".")[2], profile["batches"]) == (
            type(each).__name__,
            batches,
        )
    assert one((object(), None))["name"] == "training"
    assert describe_data({"validation": None}) == []


def test_mlflow_takes_them_and_gives_them_back(planted_uri):
    described = describe_data({"training": data(), "validation": Batches()})
    event = started(data=described)
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
