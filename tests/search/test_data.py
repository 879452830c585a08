"""Tests of the way from what a user gives to what `Model.fit` takes."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.search.data import Data
from recdrop_tune.search.data_check import check_data
from tests.small_search import Batches

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(24, 5, 3)).astype("float32"), np.arange(24) % 2
LISTS = [RNG.normal(size=(n, 2)).astype("float32") for n in RNG.integers(2, 7, 24)]
SHUFFLED = RNG.permutation(24)
TEXT = np.array(["a b", "c"] * 12, dtype=object)


def dataset(x=X, y=Y):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)


def same(x, y):
    return np.array_equal(x, y) and x.dtype == y.dtype


# Forms.


@pytest.mark.parametrize(
    ("given", "x", "y"),
    [
        ((tf.constant(X), pd.Series(Y)), X, Y),
        ((list(X), Y.astype(object)), X, Y),
        ((np.array([[1, None]], object), [0]), np.array([[1, np.nan]]), np.array([0])),
        ((X, pd.Series(Y, index=SHUFFLED, dtype="Int64"), None), X, Y),
        (([*map(pd.DataFrame, X)], Y.tolist()), X, Y),
        (([*X[..., 0]], Y), X[..., :1], Y),
        ((X.tolist(), Y), X.astype("float64"), Y),
        ((TEXT, Y), TEXT, Y),
        (lambda: (X, Y), X, Y),
    ],
)
def test_arrays_come_in_many_forms(given, x, y):
    found = Data(given).parts["training"]
    np.testing.assert_array_equal(found[0], x)
    np.testing.assert_array_equal(found[1], y)
    assert (found[0].dtype, found[1].dtype) == (x.dtype, y.dtype)


@pytest.mark.parametrize("given", [Batches(), dataset()])
def test_datasets_stay_as_they_are(given):
    data = Data(given, given)
    assert data.parts["training"] is data.parts["validation"] is given
    assert data.fit_arguments(32)["x"] is given


def test_several_inputs_and_outputs():
    frame = pd.DataFrame(X[:, 0], index=SHUFFLED)
    inputs = {"a": X, "b": (X, X.tolist()), "c": frame}
    data = Data((inputs, (Y, Y), Y.tolist()), (X, Y))
    x, y, weight = data.parts["training"]
    assert x["a"] is X
    assert same(x["c"], X[:, 0])
    assert same(x["b"][0], X)
    assert same(y[1], Y)
    arguments = data.fit_arguments(8)
    assert arguments["batch_size"] == 8
    assert "validation_batch_size" not in arguments
    assert same(arguments["sample_weight"], weight)
    assert same(weight, Y)
    assert same(arguments["validation_data"][0], X)


def padded(lists, value):
    return keras.utils.pad_sequences(lists, dtype="float32", padding="post", value=value)


@pytest.mark.parametrize(
    "listed",
    [
        list,
        lambda lists: [pd.DataFrame(each, index=range(7, 7 + len(each))) for each in lists],
    ],
    ids=["arrays", "frames"],
)
def test_sequences_of_unequal_lengths_are_padded(listed):
    tags = [1 + (each[:, 0] > 0).astype("int64") for each in LISTS]
    data = Data((listed(LISTS), tags, [np.full(len(each), 2.0) for each in LISTS]), task=rdt.Task())
    x, y, weight = data.parts["training"]
    assert data.prepared_task.mask_value == 0.0
    np.testing.assert_array_equal(x, padded(LISTS, 0.0))
    assert y.dtype.kind == "i"
    assert y.min() == 1  # Padding does not add a class.
    assert weight.shape == y.shape == x.shape[:2]
    assert weight[x.any(axis=-1)].min() == 2


def test_padding_is_a_value_that_no_step_has():
    zero = [*LISTS, np.zeros((3, 2), "float32")]
    task = rdt.Task()
    data = Data((LISTS, np.zeros(24)), (zero, np.zeros(25)), task=task)
    assert data.prepared_task.mask_value < min(each.min() for each in LISTS)
    data = Data((zero, np.zeros(25)), task=rdt.Task(mask_value=3))
    assert data.prepared_task.mask_value == 3
    assert Data(([each[:4] for each in X], Y), task=task).prepared_task.mask_value is None


def test_tokens():
    texts = [RNG.integers(1, 9, n + 1) for n in range(2, 7)]
    train = [t[:-1] for t in texts], [t[1:] for t in texts]
    data = Data(train, task=rdt.Task("language_model"))
    x, y = data.parts["training"]
    assert data.prepared_task.mask_value == 0
    assert x.shape == (5, 6)
    assert x.dtype.kind == "i"
    np.testing.assert_array_equal(y == 0, x == 0)
    with pytest.raises(InvalidArgumentError, match="Add 1 to all tokens"):
        _ = Data(tuple([t - 1 for t in part] for part in train), task=data.task).parts


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (X, r"`train`.*\(x, y\).*ndarray.* Give x and y together"),
        (0.2, "`train`.*'float'"),
        ((X, None), r"`train`.*\(x, y\)"),
        ((X, Y, Y, Y), r"`train`.*\(x, y\)"),
        ((np.array(1.0), np.array(1)), "as many targets.*at least one"),
        ((X[:0], Y[:0]), "as many targets.*at least one"),
        ((pair for pair in [(X, Y)]), "`train`.*only once"),
        ((X, Y[:5]), "as many targets.*Received: x has 24 samples, y has 5\\."),
        (([X, X], Y), "x has 2 samples, y has 24.*Several inputs.*a tuple or a dict"),
        (([[1.0], [1.0, 2.0]], Y[:2]), "a list of arrays.*a tuple or a dict"),
        ((X, {"steps": LISTS, "whole": Y}), r"a list of arrays. Received: train=\[\(\d, 2\),"),
        ((LISTS, [np.zeros(2)] * 23 + [np.zeros(3)]), "a target .* for each step"),
        ((Y, LISTS), "a target .* for each step of x.*Are x and y swapped"),
    ],
)
def test_what_is_no_data(train, message):
    with pytest.raises(InvalidArgumentError, match=message):
        _ = Data(train).parts


# The check against a model.


def own(units=3, loss="sparse_categorical_crossentropy", steps=False, mask=False, **kwargs):
    shape = {"batch_shape": (8, 5, 3)} if kwargs else {"shape": (None, 3)}
    layers = [keras.Input(**shape), *[keras.layers.Masking()] * mask]
    layers += [keras.layers.LSTM(2, return_sequences=steps, **kwargs)]
    layers += [keras.layers.Dense(units, None if units > 1 else "sigmoid")]
    model = keras.Sequential(layers)
    model.compile("sgd", loss)
    return model


def named():
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, {"output": keras.layers.Dense(1)(keras.layers.LSTM(2)(inputs))})
    model.compile("sgd", "mse")
    return model


NAN = X.copy()
NAN[20, 1, 2] = np.nan
MASKED = X.copy()
MASKED[:, 3:] = 0
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=7)


@pytest.mark.parametrize(
    ("model", "train", "message"),
    [
        (own(), (X, Y + 2), r"labels 0 \.\.\. 2.*labels 2 \.\.\. 3|does not take.*label"),
        (own(1, "binary_crossentropy"), (X, 2 * Y - 1), r"labels 0 \.\.\. 1.*labels -1 \.\.\. 1"),
        (own(1, "mse"), (X, X[:, 0]), r"targets of shape \('samples', 1\).*samples', 3\)"),
        (own(2, "mse"), (X, Y), r"shape \('samples', 2\).*loss mean_squared_error.*sparse_categ"),
        (own(), (X, np.eye(3)[Y]), "its loss is sparse_categorical_crossentropy"),
        (own(), (X, np.array(["no", "yes"])[Y]), "`train`.*could not convert string"),
        (own(), (X[..., :2], Y), r"`train`.*\(4, 5, 2\).*model \(None, None, 3\)"),
        (own(), (NAN, Y), "finite loss. Received: NaN or infinity in x"),
        (own(), dataset().repeat(), "`train`.*data with an end, or .*steps_per_epoch"),
    ],
    ids=[
        "labels",
        "signs",
        "repeated",
        "mse",
        "one-hot",
        "text",
        "features",
        "NaN",
        "endless",
    ],
)
def test_what_a_model_does_not_take(model, train, message):
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        check_data(Data(train).parts, model, 8, {})
    assert "function_node" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "train"),
    [
        (own(), (X, Y)),
        (own(1, "mse"), (X, X[:, 0, :1])),
        (own(loss=LOGITS, steps=True), (X, np.full((24, 5), 7))),
        (own(steps=True, mask=True), (MASKED, np.where(MASKED[..., 0] == 0, 0, Y[:, None]))),
        (own(loss=lambda y, p: keras.ops.mean(p)), (X, X[:, 0, 0])),
        (own(stateful=True), (X, Y)),
        (named(), (X, X[:, 0, :1])),
        (own(), Batches()),
        (own(), dataset()),
    ],
)
def test_what_a_model_takes(model, train):
    check_data(Data(train, train).parts, model, 8, {})


def test_a_stateful_model_takes_batches_of_its_size():
    with pytest.raises(InvalidArgumentError, match=r"`train`.*16"):
        check_data(Data((X, Y)).parts, own(stateful=True), 16, {})


class OwnStep(keras.Model):
    """A model that trains without a loss of `compile`."""

    def train_step(self, *arguments):
        return {"loss": 0.0}


def test_a_model_with_its_own_step_takes_other_targets():
    inputs = keras.Input((5, 3))
    model = OwnStep(inputs, keras.layers.Dense(4)(keras.layers.GRU(2)(inputs)))
    model.compile("adam")
    check_data({"training": (X, Y)}, model, 8, {})
