"""Times training steps on Keras's backend: `doctor` runs this in a process for each backend."""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import keras
import numpy as np

from recdrop_tune.wrappers import wrap

_RATE = 0.3
_STEPS, _ROUNDS, _SECONDS = 4, 5, 1.0
"""Timed steps per turn; how many turns each candidate gets, and how many seconds all turns take, at least."""


class _Clock(keras.callbacks.Callback):
    """Times all steps of an epoch but the first, until the device has finished."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 0:
            self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds = time.perf_counter() - self.began


def step_times(batch: int, length: int, features: int, units: int) -> dict[str, float]:
    """Returns the median milliseconds of a training step: plain, wrapped, with Keras's own dropout.

    The candidates take turns, so that other load on the machine affects all of them.
    """
    layers = {"plain": keras.layers.LSTM(units)}
    for name in ("recurrent", "variational"):
        layer = keras.layers.LSTM(units)
        layers[name] = wrap(layer, name, rate=_RATE, placement="recurrent")
    layers["Keras's recurrent_dropout"] = keras.layers.LSTM(units, recurrent_dropout=_RATE)
    models = {}
    for name, layer in layers.items():
        model = keras.Sequential([keras.Input((length, features)), layer, keras.layers.Dense(1)])
        model.compile("adam", "mse", jit_compile=keras.backend.backend() == "jax")
        models[name] = model
    generator = np.random.default_rng(0)
    x = generator.normal(size=(batch * (_STEPS + 1), length, features)).astype("float32")
    y = generator.normal(size=(batch * (_STEPS + 1), 1)).astype("float32")
    times: dict[str, list[float]] = {name: [] for name in models}
    turn, spent = 0, 0.0
    while turn <= _ROUNDS or spent < _SECONDS:
        for name, model in models.items():
            clock = _Clock()
            model.fit(x, y, batch_size=batch, verbose=0, shuffle=False, callbacks=[clock])
            if turn:  # The first turn compiles.
                times[name].append(clock.seconds / _STEPS * 1000)
                spent += clock.seconds
        turn += 1
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    print(json.dumps(step_times(*map(int, sys.argv[1:]))))
