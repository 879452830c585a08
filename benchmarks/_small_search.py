"""A small search whose trials differ in rate, learning rate and seed, and where its time goes."""

import statistics
import tempfile
import time
import warnings
from itertools import pairwise
from typing import ClassVar

import keras
import keras_tuner as kt
import numpy as np

import recdrop_tune as rdt
from recdrop_tune.wrappers import wrap

SPACE = {
    "cell": ["lstm", "gru"],
    "units": {"min": 16, "max": 64, "step": 16},
    "wrapper": ["none", "recurrent", "time_distributed"],
    "rate": {"min": 0.05, "max": 0.6},
    "learning_rate": {"min": 1e-4, "max": 1e-2, "log": True},
}
"""The search space of trials that train nothing."""

KINDS = {"Keras Tuner, RandomSearch": None, "ours, reuse_models=0": {"reuse_models": 0}, "ours": {}}
"""The arguments of our tuner."""


class Clock(keras.callbacks.Callback):
    """Notes when steps and validations end; every copy writes into one list."""

    events: ClassVar[list] = []

    def __deepcopy__(self, memo):
        """Keras Tuner copies callbacks."""
        return type(self)()

    def _note(self, what):
        self.events.append((what, time.perf_counter()))

    def on_train_begin(self, logs=None):
        """Notes."""
        self._note("train")

    def on_train_batch_end(self, batch, logs=None):
        """Notes."""
        self._note("step")

    def on_test_begin(self, logs=None):
        """Notes."""
        self._note("test begin")

    def on_test_end(self, logs=None):
        """Notes."""
        self._note("test end")


def build(hp):
    """An LSTM whose rate and learning rate are searched."""
    rate = hp.Float("rate", 0.05, 0.6)
    layer = wrap(keras.layers.LSTM(32), "recurrent", rate=rate, placement="recurrent")
    model = keras.Sequential([keras.Input((50, 12)), layer, keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam(hp.Float("learning_rate", 1e-4, 1e-2, sampling="log"))
    model.compile(optimizer, "mse")
    return model


def timed(base):
    """Returns a tuner class that notes the beginnings of its trials."""

    class Timed(base):
        def on_trial_begin(self, trial):
            Clock.events.append(("trial", time.perf_counter()))
            super().on_trial_begin(trial)

    return Timed


def run(kind, trials, seed, epochs):
    """Runs a small search; returns its trials' seconds, and how many of them were lost."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(512, 50, 12)), generator.normal(size=(512, 1))
    data = {"x": x[:384], "y": y[:384], "validation_data": (x[384:], y[384:])}
    oracle = kt.oracles.RandomSearchOracle("val_loss", max_trials=trials, seed=seed)
    own = {} if KINDS[kind] is None else {"seed": seed, **KINDS[kind]}
    Clock.events = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        base = timed(kt.Tuner if KINDS[kind] is None else rdt.Tuner)
        tuner = base(oracle, build, directory=folder, **own)
        tuner.search(**data, epochs=epochs, callbacks=[Clock()], verbose=0)
    return split([*Clock.events, ("trial", time.perf_counter())])


def split(events):
    """Returns `(seconds, seconds lost)` of each trial."""
    starts = [i for i, (what, _) in enumerate(events) if what == "trial"]
    rows = []
    for begin, end in pairwise(starts):
        inside = events[begin:end]
        steps = [at for what, at in inside if what == "step"]
        tests = [
            at - before
            for (what, at), (_, before) in zip(inside[1:], inside, strict=False)
            if what == "test end"
        ]
        step = statistics.median(np.diff(steps))
        lost = steps[0] - inside[0][1] - step + tests[0] - statistics.median(tests)
        rows.append((events[end][1] - inside[0][1], lost))
    return rows
