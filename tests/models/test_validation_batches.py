"""Validation data in batches of one size: one program, and the same scores to rounding."""

import keras
import numpy as np
import pytest
from keras import layers, losses, ops

from recdrop_tune import models
from recdrop_tune.models import validation_batches
from tests.backends import BACKEND

pytestmark = pytest.mark.backends

X = np.random.default_rng(0).normal(size=(30, 5, 3)).astype("float32")
NUMBERS, LABELS = X.sum((1, 2)), (X.sum((1, 2)) > 0).astype("int64")
STEPS = (X.sum(2) > 0).astype("int64")
WEIGHTS = np.linspace(0.5, 1.5, 30)
SPARSE = losses.SparseCategoricalCrossentropy


@pytest.fixture
def traced(monkeypatch):
    """The sizes of the validation batches that are traced; on PyTorch, of all of them."""
    sizes, test_step = [], keras.Model.test_step

    def noted(self, *arguments):
        sizes.append(keras.tree.flatten(arguments[-1])[0].shape[0])
        return test_step(self, *arguments)

    monkeypatch.setattr(keras.Model, "test_step", noted)
    return sizes


def trained(fit, make, compiled, given, y=NUMBERS):
    """Trains a model, by default with 7 validation batches of 4 and one of 2; returns its history."""
    keras.utils.set_random_seed(1)
    model = make()
    model.compile(**{"optimizer": "sgd", "loss": "mse", **compiled})
    options = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}
    return fit(model, X, y, **{**options, "validation_data": (X, y), **given}).history


def dense(units=1, *before, batch=None):
    inputs = keras.Input(batch_shape=(batch, 5, 3))
    return keras.Sequential([inputs, *before, layers.Flatten(), layers.Dense(units)])


def steps(*before):
    return keras.Sequential(
        [keras.Input((5, 3)), *before, layers.LSTM(4, return_sequences=True), layers.Dense(2)]
    )


def centred():
    inputs = keras.Input((5, 3))
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(inputs - ops.mean(inputs, axis=0))))


def root(y, predicted):
    return ops.sqrt(ops.mean(ops.square(y - predicted)))


@pytest.mark.parametrize(
    ("make", "compiled", "given", "y"),
    [
        (dense, {"metrics": ["mae", "RootMeanSquaredError"]}, {}, NUMBERS),
        pytest.param(
            lambda: dense(1, layers.BatchNormalization()),
            {"loss": "binary_crossentropy", "metrics": ["accuracy", "AUC"]},
            {"validation_data": (X, LABELS, WEIGHTS)},
            LABELS,
            marks=pytest.mark.heavy,
        ),
        pytest.param(
            steps,
            {"loss": SPARSE(from_logits=True), "weighted_metrics": ["accuracy"]},
            {"validation_data": (X, STEPS, np.tile(WEIGHTS[:, None], 5))},
            STEPS,
            marks=pytest.mark.heavy,
        ),
    ],
    ids=["numbers", "weighted labels", "weighted steps"],
)
def test_the_scores_of_one_batch_are_those_of_many(make, compiled, given, y, traced):
    by_keras = trained(keras.Model.fit, make, compiled, given, y)
    traced.clear()
    found = trained(models.fit, make, compiled, given, y)
    assert set(traced) == {30}
    assert len(traced) == (2 if BACKEND == "torch" else 1)
    assert found.keys() == by_keras.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, by_keras[name], rtol=2e-6, err_msg=name)


APART = {
    "their size is given": (dense, {}, {"validation_batch_size": 7}, NUMBERS),
    "their number is given": (dense, {}, {"validation_steps": 3}, NUMBERS),
    "a fixed size": (lambda: dense(batch=10), {}, {"batch_size": 10}, NUMBERS),
    "masked targets": (
        lambda: steps(layers.Masking(0.0)),
        {"loss": SPARSE(from_logits=True)},
        {},
        STEPS,
    ),
    "ignored targets": (
        lambda: dense(2),
        {"loss": SPARSE(from_logits=True, ignore_class=0)},
        {},
        LABELS,
    ),
    "a sum": (dense, {"loss": losses.MeanSquaredError(reduction="sum")}, {}, NUMBERS),
    "a loss of a batch": (dense, {"loss": losses.Dice()}, {}, NUMBERS),
    "an own loss": (dense, {"loss": root}, {}, NUMBERS),
    "an own metric": (dense, {"metrics": [root]}, {}, NUMBERS),
    "a loss as a metric": (dense, {"metrics": [losses.MeanSquaredError()]}, {}, NUMBERS),
    "an own layer": (
        lambda: dense(1, layers.Lambda(lambda x: x - ops.mean(x, axis=0))),
        {},
        {},
        NUMBERS,
    ),
    "an operation": (centred, {}, {}, NUMBERS),
}


@pytest.mark.parametrize("case", APART)
def test_where_scores_depend_on_batches_they_are_keras_s(case, traced):
    make, compiled, given, y = APART[case]
    trained(models.fit, make, compiled, {"epochs": 1, **given}, y)
    assert 30 not in traced


@pytest.mark.parametrize(("samples", "size"), [(30, 15), (29, 4)])
def test_larger_data_are_evaluated_in_equal_parts(samples, size, monkeypatch, traced):
    monkeypatch.setattr(validation_batches, "_MOST_NUMBERS", 20 * 5 * 3)  # 20 samples.
    trained(models.fit, dense, {}, {"validation_data": (X[:samples], NUMBERS[:samples])})
    # TensorFlow knows no size if the last batch is smaller.
    assert traced[0] in (size, None)
    assert (None in traced) <= (samples % size > 0)
