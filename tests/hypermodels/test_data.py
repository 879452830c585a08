"""`SequenceClassifier.from_data`: what it infers from data, and what it refuses."""

from __future__ import annotations

import re

import keras
import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf

from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.hypermodels import SequenceClassifier
from tests.hypermodels.test_hypermodels import RECURRENT, data


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y, endless=False):
        super().__init__()
        self.x, self.y, self.endless = x, y, endless

    def __len__(self):
        return len(self.y)

    @property
    def num_batches(self):
        return None if self.endless else 2

    def __getitem__(self, index):
        part = slice(index * 4, index * 4 + 4)
        return self.x[part], self.y[part]


def forms(x, y):
    return {
        "arrays": (x, y),
        "weights": (x, y, np.ones(len(y))),
        "dataset": tf.data.Dataset.from_tensor_slices((x, y)).batch(4),
        "py_dataset": Batches(x, y),
    }


@pytest.mark.parametrize("form", ["arrays", "weights", "dataset", "py_dataset"])
@pytest.mark.parametrize("one_hot", [False, True])
def test_from_data_reads_classes_and_features(form, one_hot):
    x, y = data()
    y = keras.utils.to_categorical(y) if one_hot else y
    hypermodel = SequenceClassifier.from_data(forms(x, y)[form], RECURRENT, mask_value=0.0)
    assert (hypermodel.num_classes, hypermodel.one_hot) == (3, one_hot)
    assert hypermodel.input_shape == (None, 2)
    assert hypermodel.mask_value == 0.0
    train = forms(x, y)[form]
    arrays = train if isinstance(train, tuple) else (train,)
    model = hypermodel.build(kt.HyperParameters())
    model.run_eagerly = True
    model.fit(*arrays[:2], epochs=1, shuffle=False, verbose=0)


@pytest.mark.parametrize(
    "y",
    [
        np.array([[0], [1], [2]]),
        np.array([0.0, 1.0, 2.0]),
        np.array([2, 1, 0], "uint8"),
        [0, 1, 2],
    ],
    ids=["column", "float", "uint8", "list"],
)
def test_from_data_takes_labels_in_many_forms(y):
    assert SequenceClassifier.from_data((np.zeros((3, 4, 2)), y)).num_classes == 3


def test_from_data_takes_booleans_and_soft_labels():
    x = np.zeros((2, 4, 2))
    assert SequenceClassifier.from_data((x, np.array([True, False]))).num_classes == 2
    soft = SequenceClassifier.from_data((x, np.array([[0.9, 0.1], [0.2, 0.8]])))
    assert (soft.num_classes, soft.one_hot) == (2, True)


def test_from_data_can_be_told_of_classes_that_the_data_lack():
    train = np.zeros((3, 4, 2)), np.array([1, 3, 3])
    assert SequenceClassifier.from_data(train, num_classes=5).num_classes == 5


REMEDY = "Pass a hypermodel or a build function for any other task."


@pytest.mark.parametrize(
    ("y", "text"),
    [
        ([0.5, 1.0, 2.0], f"whole numbers or one-hot rows, not fractions. {REMEDY}"),
        ([np.nan, 1.0, 2.0], f"whole numbers or one-hot rows, not fractions. {REMEDY}"),
        ([-1, 0, 1], "no label below 0, not -1. Number the classes with `np.unique"),
        (
            [1, 2, 3],
            "labels 0 ... K-1, each of at least 2 classes there, not [1, 2, 3]. Number the classes "
            "with `np.unique(y, return_inverse=True)[1]`, or pass `num_classes`.",
        ),
        ([0, 0, 0], "labels 0 ... K-1, each of at least 2 classes there, not [0]."),
        (["a", "b", "c"], "numbers, not <U1. Number the classes with `np.unique"),
        (
            [[1, 1], [0, 1], [1, 0]],
            f"rows that sum to 1 in one-hot targets of shape (3, 2). {REMEDY}",
        ),
        (np.zeros((3, 4, 2)), f"one class for each sequence, not shape (3, 4, 2). {REMEDY}"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_from_data_refuses_targets_of_other_tasks(y, text):
    expected = "`y`. Expected integer labels 0 ... K-1 or one-hot rows: " + text
    with pytest.raises(InvalidArgumentError, match=re.escape(expected)):
        SequenceClassifier.from_data((np.zeros((3, 4, 2)), np.array(y)))


@pytest.mark.parametrize(("num_classes", "y"), [(2, [0, 1, 2]), (2, np.eye(3))])
def test_from_data_refuses_too_few_classes(num_classes, y):
    with pytest.raises(InvalidArgumentError, match="`y`"):
        SequenceClassifier.from_data((np.zeros((3, 4, 2)), np.array(y)), num_classes=num_classes)


@pytest.mark.parametrize(
    ("train", "text"),
    [
        (
            (np.zeros((3, 4)), np.arange(3)),
            "`x`. Expected one array of shape (batch, time, features). Received: x='shape (3, 4)'. "
            "Add the missing axis with `x[..., None]`.",
        ),
        (([[[0.0]], [[1.0]]], np.arange(2)), "Received: x='list'"),
        (({"a": np.zeros((3, 4, 2))}, np.arange(3)), "Received: x='dict'"),
        (np.zeros((3, 4, 2)), "Expected (x, y) arrays, a batched tf.data.Dataset"),
        (
            (np.zeros((3, 4, 2)),),
            "of (x, y) or (x, y, sample_weight). Received: train=<class 'tuple'>",
        ),
        (None, "Received: train=<class 'NoneType'>"),
        (
            tf.data.Dataset.from_tensor_slices(data()),
            "Received: x='shape (5, 2)'. Add the missing axis with `x[..., None]`, or batch the "
            "dataset with `.batch(32)`.",
        ),
        (
            tf.data.Dataset.from_tensor_slices(data()).batch(4).repeat(),
            "Expected a dataset that ends, for the labels are counted.",
        ),
        (Batches(*data(), endless=True), "Pass SequenceClassifier(num_classes, input_shape)"),
        (
            tf.data.Dataset.from_tensor_slices(data()).batch(4).take(0),
            "Expected at least one batch",
        ),
    ],
    ids=[
        "2-D",
        "lists",
        "dict",
        "no y",
        "one",
        "None",
        "unbatched",
        "endless",
        "endless py",
        "empty",
    ],
)
def test_from_data_refuses_other_data(train, text):
    with pytest.raises(InvalidArgumentError) as caught:
        SequenceClassifier.from_data(train)
    # The end of the message counts as an end of line.
    assert text in f"{caught.value}\n"
