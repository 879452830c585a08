"""`SequenceRegressor`: one number, several, or a forecast."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

from recdrop_tune import SequenceRegressor
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


@pytest.mark.parametrize("loss", ["huber", keras.losses.MeanAbsoluteError()], ids=["name", "loss"])
def test_another_loss(loss):
    y = RNG.normal(size=(8, 2)).astype("float32")
    model = build((X, y), loss=loss, metrics=["mean_squared_error"])
    model.run_eagerly = True
    found = model.evaluate(X, y, verbose=0, return_dict=True)
    expected = keras.losses.get(loss)(y, model(X))
    assert found["loss"] == pytest.approx(float(keras.ops.mean(expected)), rel=1e-5)
    assert set(found) == {"loss", "mean_squared_error"}
