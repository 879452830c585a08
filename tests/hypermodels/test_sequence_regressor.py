"""`SequenceRegressor`: one number, several, or a forecast."""

from __future__ import annotations

import re

import keras
import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf

from recdrop_tune import SequenceRegressor
from recdrop_tune.errors import InvalidArgumentError
from tests.hypermodels.test_data import Batches, forms
from tests.hypermodels.test_hypermodels import RECURRENT

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 5, 2)).astype("float32")
SHAPES = [(), (1,), (3,), (4, 2)]


def build(train, space=RECURRENT, **options):
    return SequenceRegressor.from_data(train, space, **options).build(kt.HyperParameters())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_targets_of_every_shape(shape):
    y = RNG.normal(size=(8, *shape)).astype("float32")
    model = build((X, y))
    assert model.output_shape == (None, *(shape or (1,)))
    model.run_eagerly = True
    found = model.evaluate(X, y, verbose=0, return_dict=True)
    predicted = np.array(model(X)).reshape(y.shape)
    assert found["loss"] == pytest.approx(np.mean((y - predicted) ** 2), rel=1e-5)
    assert found["mean_absolute_error"] == pytest.approx(np.mean(np.abs(y - predicted)), rel=1e-5)


def test_it_learns_a_forecast_of_several_steps():
    phase = RNG.uniform(0, 6, size=(64, 1, 1))
    wave = np.sin(phase + np.arange(14)[None, :, None] / 2).astype("float32")
    x, y = wave[:, :10], wave[:, 10:]
    model = build((x, y), {"wrapper": "none", "units": 16, "learning_rate": 0.02})
    history = model.fit(x, y, epochs=30, verbose=0).history["loss"]
    assert history[-1] < 0.05 < np.var(y) / 2 < history[0]


@pytest.mark.parametrize("form", ["arrays", "weights", "dataset", "py_dataset"])
def test_from_data_reads_the_shapes(form):
    y = RNG.normal(size=(8, 3))
    hypermodel = SequenceRegressor.from_data(forms(X, y)[form], RECURRENT, mask_value=0.0)
    assert (hypermodel.target_shape, hypermodel.input_shape) == ((3,), (None, 2))
    assert hypermodel.mask_value == 0.0


def test_counts_are_numbers_too_and_endless_data_will_do():
    assert SequenceRegressor.from_data((X, np.arange(8))).target_shape == ()
    endless = tf.data.Dataset.from_tensor_slices((X, X[:, 0])).batch(4).repeat()
    assert SequenceRegressor.from_data(endless).target_shape == (2,)
    assert SequenceRegressor.from_data(Batches(X, X[:, :3], endless=True)).target_shape == (3, 2)


@pytest.mark.parametrize("loss", ["huber", keras.losses.MeanAbsoluteError()], ids=["name", "loss"])
def test_another_loss(loss):
    y = RNG.normal(size=(8, 2)).astype("float32")
    model = build((X, y), loss=loss, metrics=["mean_squared_error"])
    model.run_eagerly = True
    found = model.evaluate(X, y, verbose=0, return_dict=True)
    expected = keras.losses.get(loss)(y, model(X))
    assert found["loss"] == pytest.approx(float(keras.ops.mean(expected)), rel=1e-5)
    assert set(found) == {"loss", "mean_squared_error"}


def test_padded_steps_do_not_matter():
    y = RNG.normal(size=(8, 2)).astype("float32")
    model = build((X, y), mask_value=0.0)
    padded = np.concatenate([X, np.zeros_like(X)], axis=1)
    np.testing.assert_allclose(model(padded), model(X), atol=1e-5)


def test_the_output_is_float32_under_a_mixed_policy():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert build((X, X[:, :3])).output.dtype == "float32"
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"target_shape": (1, 2, 3)},
            "`target_shape`. Expected (), (values,), (horizon,) or (horizon, values). "
            "Received: target_shape=(1, 2, 3)",
        ),
        ({"target_shape": (0,)}, "`target_shape[0]`. Expected an integer of at least 1."),
        ({"target_shape": 2.5}, "`target_shape[0]`. Expected an integer of at least 1."),
        ({"input_shape": (2,)}, "`input_shape`. Expected (time, features) without the batch"),
    ],
)
def test_bad_arguments(arguments, text):
    with pytest.raises(InvalidArgumentError, match=re.escape(text)):
        SequenceRegressor(**{"target_shape": (), "input_shape": (None, 2), **arguments})


@pytest.mark.parametrize(
    ("x", "y", "text"),
    [
        (
            X,
            np.full(8, np.nan),
            "`y`. Expected finite numbers. Received: y='8 that are infinite or",
        ),
        (X, np.array(list("abcdefgh")), "`y`. Expected numbers of shape (batch,), (batch, values)"),
        (X, np.zeros((8, 2, 2, 2)), "Received: y='float64 of shape (8, 2, 2, 2)'"),
        (X, np.zeros((8, 0)), "Received: y='float64 of shape (8, 0)'"),
        (X[..., 0], np.zeros(8), "Add the missing axis with `x[..., None]`"),
    ],
    ids=["nan", "words", "4-D", "empty", "2-D"],
)
def test_from_data_refuses_other_data(x, y, text):
    with pytest.raises(InvalidArgumentError, match=re.escape(text)):
        SequenceRegressor.from_data((x, y))
