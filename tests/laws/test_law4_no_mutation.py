"""Law 4: nothing is mutated: used alone, the wrapped layer is still the plain layer."""

from itertools import product

import keras
import numpy as np
import pytest
from keras import ops

from recdrop_tune.models.layers import plain_weights
from recdrop_tune.wrappers import ActivityDecay
from tests.backends import array
from tests.laws.cases import (
    ALONE,
    ONE_EACH,
    WIDEST,
    WRAPPERS,
    arrays,
    gru_for,
    make_inputs,
    make_layer,
    make_wrapper,
    over,
)


@over(
    ("wrapper", "cell"),
    product(WRAPPERS, ["lstm", "gru"]),
    among=lambda wrapper, cell: wrapper in (*WIDEST, *ALONE),
)
def test_the_layer_stays_plain(wrapper, cell, tmp_path):
    layer = make_layer(cell, return_sequences=True)
    sequences = ops.array(make_inputs(cell)[0])
    config, names = layer.get_config(), [weight.path for weight in layer.weights]
    values = [np.array(weight) for weight in layer.weights]
    (before,) = arrays(layer(sequences))
    attributes = set(vars(layer)) | set(vars(layer.cell))

    make_wrapper(layer, wrapper)(sequences, training=True)

    assert layer.get_config() == config
    assert [weight.path for weight in layer.weights] == names
    assert set(vars(layer)) | set(vars(layer.cell)) == attributes
    np.testing.assert_equal([np.array(weight) for weight in layer.weights], values)
    np.testing.assert_array_equal(before, arrays(layer(sequences, training=True))[0])


@pytest.mark.backends
@pytest.mark.parametrize("wrapper", [*ONE_EACH, None], ids=str)
def test_later_layers_start_with_the_weights_of_a_model_without_dropout(wrapper):
    kind = keras.layers.GRU if wrapper is None else gru_for(wrapper)

    def first_weights(change):
        keras.utils.set_random_seed(5)
        layers = [
            change(keras.layers.LSTM(4, return_sequences=True)),
            keras.layers.Bidirectional(change(kind(3, return_sequences=True))),
            change(keras.layers.Bidirectional(kind(3))),
            keras.layers.Dense(1),
        ]
        model = keras.Sequential([keras.Input((5, 2)), *layers])
        return [array(weight) for weight in plain_weights(model)]

    def wrapped(layer):
        if wrapper is None:
            return ActivityDecay(layer, activity_decay=1.0)
        return make_wrapper(layer, wrapper, seed=None)

    np.testing.assert_equal(first_weights(wrapped), first_weights(lambda layer: layer))
