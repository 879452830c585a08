"""`from_data`: what hypermodels infer from data, and what they refuse."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from recdrop_tune import LanguageModel, SequenceClassifier, SequenceRegressor, SequenceTagger
from recdrop_tune.errors import InvalidArgumentError
from tests.hypermodels.test_hypermodels import RECURRENT, data

X = np.zeros((3, 4, 2), "float32")
STEPS = np.array([[0, 1, 2, 0], [1, 1, 2, 2], [0, 0, 1, 2]])
ONE_HOT_STEPS = np.eye(3)[STEPS]
PADDED_STEPS = ONE_HOT_STEPS * (np.arange(4) < 3)[:, None]


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


def endless(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(4).repeat()


@pytest.mark.parametrize(
    ("kind", "y", "options", "num_classes", "one_hot"),
    [
        (SequenceClassifier, np.array([[0.0], [1.0], [2.0]]), {}, 3, False),
        (SequenceClassifier, np.array([True, False, True]), {}, 2, False),
        (SequenceClassifier, np.array([[0.9, 0.1], [0.2, 0.8], [0, 1]]), {}, 2, True),
        (SequenceClassifier, np.array([1, 3, 3]), {"num_classes": 5}, 5, False),
        (SequenceTagger, PADDED_STEPS, {}, 3, True),
    ],
)
def test_labels_in_many_forms(kind, y, options, num_classes, one_hot):
    made = kind.from_data((X, y), mask_value=0.0, **options)
    assert (made.num_classes, made.one_hot, made.mask_value) == (num_classes, one_hot, 0.0)


def test_regressions_and_language_models():
    x, _ = data()
    assert SequenceRegressor.from_data(endless(x, x[:, 0])).target_shape == (2,)
    assert SequenceRegressor.from_data(Batches(x, x[:, :3], endless=True)).target_shape == (3, 2)
    made = SequenceRegressor.from_data((X, np.zeros(3)), RECURRENT, mask_value=0.0, loss="huber")
    assert (made.target_shape, made.mask_value, made.loss) == ((), 0.0, "huber")
    made = LanguageModel.from_data(STEPS, RECURRENT, tie_weights=True)
    assert (made.vocab_size, made.tie_weights, made.space.units) == (3, True, 4)
    x, y = np.array([[1, 2]]), np.array([[2, 7]])  # The last target counts, too.
    assert LanguageModel.from_data((x, y)).vocab_size == 8
    assert LanguageModel.from_data((x, y), vocab_size=20).vocab_size == 20


FRACTIONS = "whole numbers or one-hot rows, not fractions."
GAPS = "labels 0 ... K-1, each of at least 2 classes there, not"
TOKENS = np.array([[0, 0, 1], [1, 2, 3]])


@pytest.mark.parametrize(
    ("kind", "y", "text"),
    [
        (SequenceTagger, STEPS / 2, FRACTIONS),
        (SequenceClassifier, [np.inf, 1.0, 2.0], FRACTIONS),
        (SequenceClassifier, [-1, 0, 1], "no label below 0, not -1. Number the classes with `np."),
        (SequenceClassifier, [1, 2, 3], f"{GAPS} [1, 2, 3]. Number the classes with `np.unique("),
        (SequenceClassifier, [0, 0, 0], f"{GAPS} [0]."),
        (SequenceClassifier, ["a", "b", "c"], "numbers, not <U1. Number the classes with `np."),
        (SequenceClassifier, [[1, 1], [0, 1], [1, 0]], "rows that sum to 1 in one-hot targets"),
        (SequenceClassifier, X, "one class for each sequence, not shape (3, 4, 2)."),
        (SequenceTagger, STEPS[:, :3], "one class for each of 4 steps, not shape (3, 3)."),
        (SequenceTagger, ONE_HOT_STEPS[:, :3], "for each of 4 steps, not shape (3, 3, 3)."),
        (SequenceRegressor, np.full(3, np.nan), "finite numbers. Received: y='3 that are infinite"),
        (SequenceRegressor, list("abc"), "numbers of shape (batch,), (batch, values)"),
        (SequenceRegressor, np.zeros((3, 2, 2, 2)), "Received: y='float64 of shape (3, 2, 2, 2)'"),
    ],
)
def test_targets_of_other_tasks_are_refused(kind, y, text):
    with pytest.raises(InvalidArgumentError, match=f"`y`. Expected .*{re.escape(text)}"):
        kind.from_data((X, np.array(y)))


@pytest.mark.parametrize("y", [[0, 1, 2], np.eye(3)])
def test_more_classes_than_given_are_refused(y):
    with pytest.raises(InvalidArgumentError, match="`y`"):
        SequenceClassifier.from_data((X, np.array(y)), num_classes=2)


@pytest.mark.parametrize(
    ("train", "text"),
    [
        ((X[..., 0], np.arange(3)), "x='shape (3, 4)'. Add the missing axis with `x[..., None]`."),
        (({"a": X}, np.arange(3)), "Received: x='dict'"),
        ((np.arange(3), X), "Received: x='shape (3,)'. Swap x and y: y has that shape."),
        (X, "Expected (x, y) arrays, a batched tf.data.Dataset"),
        ((X,), "of (x, y) or (x, y, sample_weight). Received: train=<class 'tuple'>"),
        (tf.data.Dataset.from_tensor_slices(data()), "or batch the dataset with `.batch(32)`."),
        (endless(*data()), "Expected a dataset that ends, for the labels are counted."),
        (Batches(*data(), endless=True), "Pass SequenceClassifier(num_classes, input_shape)"),
        (endless(*data()).take(0), "Expected at least one batch"),
    ],
    ids=["2-D", "dict", "swapped", "no y", "one", "unbatched", "endless", "endless py", "empty"],
)
def test_other_data_are_refused(train, text):
    with pytest.raises(InvalidArgumentError) as caught:
        SequenceClassifier.from_data(train)
    # The end of the message counts as an end of line.
    assert text in f"{caught.value}\n"


@pytest.mark.parametrize(
    ("train", "options", "text"),
    [
        (TOKENS / 2, {}, "`x`. Expected integer tokens >= 0 of shape (batch, time)."),
        (TOKENS.ravel(), {}, "Cut a text into pieces of equal length: `tokens[: len(tokens)"),
        (TOKENS - 2, {}, "`x`. Expected integer tokens >= 0"),
        ((TOKENS, TOKENS[:, 1:]), {}, "Make both from one array of tokens: `LanguageModel."),
        (TOKENS, {"mask_zero": True}, "`x`. Expected padding on the right, with mask_zero=True."),
        (endless(TOKENS, TOKENS), {}, "Expected a dataset that ends, for the words are counted."),
    ],
    ids=["floats", "1-D", "negative", "lengths", "left", "endless"],
)
def test_other_tokens_are_refused(train, options, text):
    with pytest.raises(InvalidArgumentError, match=re.escape(text)):
        LanguageModel.from_data(train, **options)
