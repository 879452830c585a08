"""A search so small that its programs are compiled in seconds, for processes on any of Keras's backends."""

import os
from functools import partial

import keras
import numpy as np

import recdrop_tune as rdt

SPACE = {"units": 4, "wrapper": ["none", "recurrent"], "placement": "recurrent", "rate": [0.1, 0.3]}


def data():
    """Sequences of shape `(24, 5, 3)` and whether their sum is positive, for training and validation."""
    x = np.random.default_rng(0).normal(size=(40, 5, 3)).astype("float32")
    y = (x.sum((1, 2)) > 0).astype("int64")
    return (x[:24], y[:24]), (x[24:], y[24:])


def build(hp):
    """Fails in a process whose backend is not that of its environment."""
    assert keras.backend.backend() == os.environ.get("KERAS_BACKEND", "tensorflow")
    layer = rdt.wrap(keras.layers.GRU(4), "recurrent", rate=hp.Float("rate", 0.1, 0.5))
    model = keras.Sequential([keras.Input((5, 3)), layer, keras.layers.Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def make_tuner(folder):
    """Returns a function that makes a tuner of two trials; it can be sent to workers."""
    return partial(_tuner, str(folder))


def _tuner(folder):
    oracle = rdt.OptunaOracle("val_loss", max_trials=2, seed=0)
    return rdt.Tuner(oracle, build, directory=folder, project_name="spread", seed=0)
