"""How long a training step takes on this machine: the plain layer, wrapped, and with Keras's own dropout.

As a program, which `backend_times` starts for each backend, it writes the times as JSON.
"""

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
_STEPS, _ROUNDS = 4, 5


class _Clock(keras.callbacks.Callback):
    """Times the steps after the first, to the end of the epoch, when the device is through."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Starts after the first step."""
        if batch == 0:
            self.seconds = -time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops."""
        self.seconds += time.perf_counter()


def step_times(size: tuple[int, int, int, int], seconds: float = 1.0) -> dict[str, float]:
    """Returns the milliseconds of a training step: the median of at least five turns of some `seconds`.

    The candidates take turns, so that what else the machine does hits all alike.

    Args:
        size: Samples in a batch, steps of a sequence, features, units.
        seconds: How long to measure.
    """
    models = _models(size)
    batch, length, features, _ = size
    generator = np.random.default_rng(0)
    x = generator.normal(size=(batch * (_STEPS + 1), length, features)).astype("float32")
    y = generator.normal(size=(batch * (_STEPS + 1), 1)).astype("float32")
    found: dict[str, list[float]] = {name: [] for name in models}
    turn, spent = 0, 0.0
    while turn <= _ROUNDS or spent < seconds:
        for name, model in models.items():
            clock = _Clock()
            model.fit(x, y, batch_size=batch, verbose=0, shuffle=False, callbacks=[clock])
            if turn:  # The first one traces, and is not counted.
                found[name].append(clock.seconds / _STEPS * 1000)
                spent += clock.seconds
        turn += 1
    return {name: statistics.median(values) for name, values in found.items()}


def _models(size: tuple[int, int, int, int]) -> dict[str, Any]:
    _, length, features, units = size
    layers = {
        "plain": keras.layers.LSTM(units),
        **{
            name: wrap(keras.layers.LSTM(units), name, rate=_RATE, placement="recurrent")
            for name in ("recurrent", "variational")
        },
        "Keras's recurrent_dropout": keras.layers.LSTM(units, recurrent_dropout=_RATE),
    }
    models = {}
    for name, layer in layers.items():
        model = keras.Sequential([keras.Input((length, features)), layer, keras.layers.Dense(1)])
        model.compile("adam", "mse", jit_compile=keras.backend.backend() == "jax")
        models[name] = model
    return models


if __name__ == "__main__":
    batch, length, features, units = map(int, sys.argv[1:])
    print(json.dumps(step_times((batch, length, features, units))))
