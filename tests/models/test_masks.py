"""Padded steps count nowhere, also on Keras 3.16, whose recurrent layers do not hand on their masks."""

import warnings

import keras
import keras_tuner as kt
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.kernels import KERAS_PASSES_MASKS
from recdrop_tune.models import to_plain
from tests.backends import BACKEND, array

pytestmark = pytest.mark.backends

STEPS, PADDED = 6, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, STEPS, 3)).astype("float32")
X[:, PADDED:] = 0.0
Y = RNG.integers(0, 3, (8, STEPS))
OTHER = Y.copy()
OTHER[:, PADDED:] = (Y[:, PADDED:] + 1) % 3
SPACE = {"wrapper": "recurrent", "placement": "recurrent", "rate": 0.4}


def sequential():
    layers = [
        keras.layers.Masking(),
        keras.layers.LSTM(4, return_sequences=True),
        keras.layers.Bidirectional(keras.layers.GRU(4, return_sequences=True)),
        keras.layers.TimeDistributed(keras.layers.Dense(3, activation="softmax")),
    ]
    return keras.Sequential([keras.Input((STEPS, 3)), *layers])


def nested():
    inner = keras.Sequential(
        [keras.Input((STEPS, 3)), keras.layers.LSTM(4, return_sequences=True)], name="inner"
    )
    inputs = keras.Input((STEPS, 3))
    features = keras.layers.GRU(4, return_sequences=True)(inner(keras.layers.Masking()(inputs)))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(features))


def existing(make):
    model = make()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return rdt.ExistingModel(model, space=SPACE)


def tagger():
    space = {
        **SPACE,
        "units": 4,
        "layers": 2,
        "bidirectional": True,
        "locked_rate": {"between": 0.1},
    }
    return rdt.SequenceTagger(3, (STEPS, 3), space=space, mask_value=0.0)


MODELS = {
    "SequenceTagger": tagger,
    "sequential": lambda: existing(sequential),
    "nested": lambda: existing(nested),
}


@pytest.fixture(
    params=["SequenceTagger", "sequential", pytest.param("nested", marks=pytest.mark.heavy)]
)
def model(request):
    hypermodel = MODELS[request.param]()
    with warnings.catch_warnings():
        # A model in a model hands on no mask on any Keras, and Keras says so.
        action = "ignore" if request.param == "nested" else "error"
        warnings.filterwarnings(action, message=".*destroy the mask")
        made = hypermodel.build(kt.HyperParameters())
    made.run_eagerly = BACKEND != "jax"
    return made


def scores(model, labels):
    return np.array(model.evaluate(X, labels, verbose=0))


def test_padded_steps_count_nowhere(model):
    expected = scores(model, Y)
    np.testing.assert_array_equal(scores(model, OTHER), expected)
    alone = array(unpadded(model)(X[:, :PADDED]))
    np.testing.assert_allclose(model.predict(X, verbose=0)[:, :PADDED], alone, atol=1e-6)


@pytest.mark.skipif(KERAS_PASSES_MASKS, reason="CTC cannot take a mask before Keras 3.16")
def test_a_loss_of_whole_sequences_gets_no_mask():
    model = sequential()
    model.compile("sgd", "ctc")
    copy = rdt.ExistingModel(model, space=SPACE).build(kt.HyperParameters())
    assert np.isfinite(copy.evaluate(X, np.ones((8, 2)), verbose=0))


def unpadded(model):
    """The same layers without a mask, on sequences that need none."""
    plain = to_plain(model)
    layers = [
        part
        for layer in plain.layers
        for part in (layer.layers if isinstance(layer, keras.Model) else [layer])
    ]
    skipped = keras.layers.InputLayer | keras.layers.Masking
    features = keras.Input((PADDED, 3))
    inputs = features
    for layer in layers:
        if not isinstance(layer, skipped):
            features = layer(features)
    return keras.Model(inputs, features)


def test_the_plain_copy_and_its_file_keep_the_masks(model, tmp_path):
    plain = to_plain(model)
    plain.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    plain.run_eagerly = BACKEND != "jax"
    np.testing.assert_allclose(scores(plain, OTHER), scores(model, Y), rtol=1e-6)
    plain.save(tmp_path / "plain.keras")
    loaded = keras.models.load_model(tmp_path / "plain.keras")
    np.testing.assert_allclose(loaded.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-6)
