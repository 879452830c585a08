"""Defaults that other tests replace: each of them works."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune import wrappers
from recdrop_tune.catalog import TECHNIQUES


def model():
    layers = [keras.Input((5, 3)), keras.layers.LSTM(3), keras.layers.Dense(2, "softmax")]
    made = keras.Sequential(layers)
    made.compile("sgd", "sparse_categorical_crossentropy")
    return made


@pytest.mark.parametrize(
    "build",
    [
        lambda hp: rdt.SequenceClassifier(2, (5, 3)).build(hp),
        lambda hp: rdt.SequenceRegressor(1, (5, 3)).build(hp),
        lambda hp: rdt.SequenceTagger(2, (5, 3)).build(hp),
        lambda hp: rdt.LanguageModel(9).build(hp),
        lambda hp: rdt.ExistingModel(model()).build(hp),
        lambda hp: rdt.dropout_model(hp, model()),
        lambda hp: rdt.dropout_rnn(hp, keras.layers.LSTM(3)),
    ],
)
def test_models_have_a_space(build):
    hp = kt.HyperParameters()
    build(hp)
    assert "wrapper" in hp.values


@pytest.mark.parametrize("technique", sorted(TECHNIQUES.keys() - {"none", "concrete"}))
def test_wrappers_have_a_placement(technique):
    layer = getattr(wrappers, TECHNIQUES[technique].class_name)(keras.layers.LSTM(3), 0.2)
    x = np.ones((2, 5, 3), "float32")
    assert not np.allclose(layer(x, training=True), layer(x))
