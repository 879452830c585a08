"""Tests for seeds that leave TensorFlow's kernels alone: they draw what Keras's own draw."""

import random
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from recdrop_tune.kernels import FreshStart
from tests.small_search import data


def shuffled():
    """A pipeline as Keras makes for arrays: its shuffling takes the seed of TensorFlow."""
    order = tf.data.Dataset.range(1).map(lambda _: tf.random.shuffle(tf.range(20)))
    return [batch.numpy().tolist() for batch in order]


def draws():
    layer = keras.layers.LSTM(3)
    layer.build((None, 5, 2))
    layers = [keras.layers.Flatten(), keras.layers.Dense(2), keras.layers.Dropout(0.5)]
    model = keras.Sequential([keras.Input((5, 3)), *layers])
    model.compile("sgd", "mse")
    x, _ = data()
    fitted = model.fit(x, x[:, 0, :2], batch_size=8, verbose=0).history["loss"]
    return [
        random.random(),
        np.random.random(),
        tf.random.uniform((2,)).numpy().tolist(),
        keras.random.normal((2,)).numpy().tolist(),
        layer.name,
        [weight.numpy().tolist() for weight in layer.weights],
        shuffled(),
        fitted,
    ]


@pytest.fixture(scope="module")
def expected():
    found = {}
    for seed in (0, 7):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(seed)
        found[seed] = draws()
    return found


@pytest.mark.parametrize("keep", [True, False])
def test_every_start_is_like_the_first(expected, keep):
    fresh_start = FreshStart(keep_kernels=keep)
    for seed in (0, 7, 7):
        fresh_start.begin(seed)
        assert draws() == expected[seed]


def test_kernels_are_kept():
    """A function with a big graph runs at once after a fresh start, and not after `clear_session`."""

    @tf.function
    def big(x):
        for _ in range(200):
            x = tf.tanh(x @ x)
        return x

    x = tf.eye(2)
    fresh_start = FreshStart(keep_kernels=True)
    fresh_start.begin(0)
    big(x)

    def seconds(begin):
        times = []
        for turn in range(3):
            begin(turn + 1)
            started = time.thread_time()
            big(x)
            times.append(time.thread_time() - started)
        return min(times)

    kept = seconds(fresh_start.begin)
    made_again = seconds(lambda seed: keras.utils.clear_session(free_memory=False))
    assert kept < made_again / 2
