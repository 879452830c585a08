"""Run by `test_mirrored_strategy.py` in its own process: two replicas on two CPU devices.

How many devices there are must be said before TensorFlow first looks at them.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from recdrop_tune.wrappers import EmbeddingDropout
from tests.laws.cases import WIDEST, arrays, make_wrapper, wrapper_id

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
STRATEGY = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

X = np.random.default_rng(0).normal(size=(8, 5, 2)).astype("float32")
Y = X.sum(axis=(1, 2), keepdims=False)[:, None]
FITTED = [wrapper for wrapper in WIDEST if wrapper[0] in ("recurrent", "weight_drop", "concrete")][
    ::2
]
"""Fitting a model takes seconds."""


def on_replicas(layer, inputs):
    """Makes the function that gives what each replica gets out of the same samples, in training.

    Nested as Keras's trainer does it: a function that each replica calls, in a function.
    """
    each = tf.function(lambda: layer(tf.constant(inputs), training=True))
    both = tf.function(lambda: STRATEGY.run(each))
    return lambda: [arrays(result)[0] for result in STRATEGY.experimental_local_results(both())]


def quiet(layer):
    """Sets the rates to 0; those that may not be 0, learned ones and of zoneout's h, close enough to it."""
    layer.rate = 1e-9 if layer.learns_rates else 0.0
    if getattr(layer, "hidden_rate", 0.0):
        layer.hidden_rate = 1e-9


@pytest.mark.parametrize("wrapper", WIDEST, ids=wrapper_id)
def test_replicas_draw_masks_of_their_own(wrapper):
    with STRATEGY.scope():
        layer = make_wrapper(keras.layers.LSTM(4, return_sequences=True), wrapper)
        layer(X)
    draw = on_replicas(layer, X)
    draws = [*draw(), *draw()]
    for i, one in enumerate(draws):
        assert not any(np.allclose(one, other) for other in draws[:i])
    quiet(layer)
    plain = arrays(layer.layer(X))[0]
    for one in draw():
        np.testing.assert_allclose(one, plain, rtol=1e-5, atol=1e-6)


def test_no_two_streams_of_a_bidirectional_meet():
    with STRATEGY.scope():
        inner = make_wrapper(keras.layers.GRU(4), ("time_distributed", "input", {}), seed=7)
        layer = keras.layers.Bidirectional(inner)
        layer(X)

    def seeds():
        parts = (layer.forward_layer, layer.backward_layer)
        return tf.stack([part.seed_generator.next() for part in parts])

    both = STRATEGY.experimental_local_results(STRATEGY.run(tf.function(seeds)))
    assert len({tuple(seed) for replica in both for seed in replica.numpy()}) == 4


def test_embedding_dropout():
    tokens = np.arange(40).reshape((2, 20))
    with STRATEGY.scope():
        layer = EmbeddingDropout(keras.layers.Embedding(40, 3), 0.5)
        layer(tokens)
    one, other = on_replicas(layer, tokens)()
    assert not np.allclose(one, other)


@pytest.mark.parametrize("wrapper", FITTED, ids=wrapper_id)
def test_fit(wrapper):
    with STRATEGY.scope():
        layer = make_wrapper(keras.layers.LSTM(4), wrapper)
        model = keras.Sequential([keras.Input((None, 2)), layer, keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1), "mse")
    before = model.get_weights()
    losses = model.fit(X, Y, batch_size=4, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert all(
        not np.allclose(one, other) for one, other in zip(before, model.get_weights(), strict=True)
    )
    for weight in model.weights:
        one, other = (replica.numpy() for replica in weight.value.values)
        np.testing.assert_array_equal(one, other)
