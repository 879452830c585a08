"""`LockedDropout`: one mask for all steps of a sequence."""

import keras
import numpy as np
import pytest

from recdrop_tune.models import mc_predict
from recdrop_tune.wrappers import LockedDropout
from tests.backends import array

X = np.random.default_rng(0).normal(size=(4, 5, 50)).astype("float32") + 3


@pytest.mark.parametrize("x", [X, X[:, 0]], ids=["sequences", "vectors"])
def test_a_sample_has_one_mask_drawn_anew(x):
    layer = LockedDropout(0.2)
    factors = np.stack([array(layer(x, training=True)) / x for _ in range(200)])
    assert set(np.round(factors.ravel(), 4)) == {0.0, 1.25}
    if x.ndim == 3:
        assert np.ptp(factors, axis=2).max() < 1e-5
    assert np.ptp(factors, axis=1).max() > 1
    assert np.ptp(factors, axis=0).max() > 1
    assert factors.mean() == pytest.approx(1, abs=0.02)


def test_inference_and_rate_0_change_nothing():
    np.testing.assert_array_equal(array(LockedDropout(0.5)(X)), X)
    np.testing.assert_array_equal(array(LockedDropout(0.0)(X, training=True)), X)


def test_sequences_of_images_are_refused():
    # Of as many samples as steps, and of square images: noise of `(4, 1, 8)` fits them.
    with pytest.raises(ValueError, match="expected max_ndim=3, found ndim=4"):
        LockedDropout(0.2)(np.ones((4, 4, 8, 8), "float32"), training=True)


def test_a_mask_is_handed_on():
    padded = np.concatenate([X, np.zeros_like(X)], axis=1)
    inputs = keras.Input((None, 50))
    features = LockedDropout(0.4)(keras.layers.Masking()(inputs))
    masked = keras.Model(inputs, keras.layers.GRU(3, return_sequences=True)(features))
    out = array(masked(padded, training=True))
    np.testing.assert_array_equal(out[:, 5:], np.repeat(out[:, 4:5], 5, axis=1))


@pytest.mark.backends
def test_a_rate_is_changed_without_a_new_trace():
    layers = [LockedDropout(0.0), keras.layers.GRU(3), keras.layers.Dense(1)]
    made = keras.Sequential([keras.Input((None, 50)), *layers])
    made.compile("sgd", "mse")
    made.fit(X, X[:, 0, 0], epochs=1, verbose=0)
    traced = made.train_function
    made.layers[0].rate = 0.9
    assert made.layers[0].rate == 0.9
    assert mc_predict(made, X, passes=4).std.max() > 0
    made.fit(X, X[:, 0, 0], epochs=1, verbose=0)
    assert made.train_function is traced
