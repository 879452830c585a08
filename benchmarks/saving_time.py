"""How long does it take to save a training, and how much of a trial is that?

    python benchmarks/saving_time.py             # about a minute on 2 cores

Saves the state of a training (weights, Adam's state, the best weights, and those of early stopping) to the
disk, as a search does with `Training(save_every=30)`: for two layers of LSTM of three sizes. Prints the
milliseconds, the size of the file, and the share of a trial of 30 minutes, and writes JSON to
benchmarks/results/.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import _machine
import keras
import numpy as np

import recdrop_tune as rdt
from recdrop_tune.tuner.recovery import SNAPSHOT, Recovery

RESULTS = Path(__file__).parent / "results" / "saving_time.json"
SAVE_EVERY, TRIAL = 30, 30 * 60
"""Seconds between two saves, and of a trial."""


def measure(units, layers, times):
    """Returns the milliseconds of each save of a training, its parameters, and the bytes of the file."""
    saved = []

    class Timed(Recovery):
        def save_if_due(self, make):
            began = time.perf_counter()
            super().save_if_due(make)
            saved.append((time.perf_counter() - began) * 1000)
            sizes.append(self.path.stat().st_size)

    class Tuner(rdt.Tuner):
        def recovery(self, path, *args):
            return Timed(path, self.save_every)

    def build(hp):
        stack = [keras.layers.LSTM(units, return_sequences=True) for _ in range(layers)]
        model = keras.Sequential([keras.Input((4, 8)), *stack, keras.layers.Dense(1)])
        model.compile("adam", "mse")
        counts.append(model.count_params())
        return model

    sizes, counts = [], []
    x, y = np.zeros((8, 4, 8), "float32"), np.zeros((8, 4, 1), "float32")
    with tempfile.TemporaryDirectory() as folder:
        oracle = rdt.OptunaOracle("val_loss", max_trials=1, seed=0)
        tuner = Tuner(oracle, build, directory=folder, seed=0, save_every=1e-9)
        stopping = keras.callbacks.EarlyStopping(patience=times, restore_best_weights=True)
        fit = {"epochs": times, "validation_data": (x, y), "callbacks": [stopping], "verbose": 0}
        tuner.search(x, y, **fit)
        assert not [*Path(folder).rglob(SNAPSHOT)]
    return saved[1:], counts[-1], sizes[-1]


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, nargs="*", default=[64, 512, 1024])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = []
    print(f"{'units':>6} {'parameters':>12} {'MB':>8} {'ms a save':>10} {'of 30 minutes':>14}")
    for units in arguments.units:
        times, parameters, size = measure(units, arguments.layers, arguments.times)
        milliseconds = float(np.median(times))
        share = milliseconds / 1000 * (TRIAL // SAVE_EVERY) / TRIAL
        row = {"units": units, "layers": arguments.layers, "parameters": parameters}
        row |= {"bytes": size, "milliseconds": round(milliseconds, 1), "share": round(share, 5)}
        rows.append({**row, "slowest": round(max(times), 1)})
        print(
            f"{units:6} {parameters:12,} {size / 1e6:8.1f} {milliseconds:10.1f} {share:14.2%}",
            flush=True,
        )
    held = {"machine": _machine.describe(), "load": os.getloadavg()[0], "result": rows}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
