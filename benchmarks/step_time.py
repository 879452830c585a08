"""How long is a training step with each wrapper, against the plain layer and Keras's recurrent_dropout?

    python benchmarks/step_time.py                      # everything, about 40 minutes on 2 cores
    python benchmarks/step_time.py --sizes 32,50,12,32 --cells lstm --no-xla
    python benchmarks/step_time.py --only-xla --out benchmarks/results/step_time-tensorflow-cpu-xla.json

Each candidate is a model of one recurrent layer and a Dense(1). All candidates of a size take turns, a few
steps each, in one process; a number is the median over the rounds of the mean step of a round, in
milliseconds. Runs on whichever backend KERAS_BACKEND names, and on a GPU where there is one: tensorflow's
models are compiled by XLA only where the name says so, jax's always, torch's never. It prints a table and
writes JSON, with the machine's description, to benchmarks/results/.
"""

import argparse
import functools
import json
import statistics
import time
from pathlib import Path

import _machine
import keras
import numpy as np

from recdrop_tune.wrappers import wrap

SIZES = [
    (32, 50, 12, 32),
    (32, 50, 12, 64),
    (32, 200, 16, 64),
    (64, 100, 32, 128),
    (128, 28, 28, 128),
    (16, 100, 64, 256),
]
RATE = 0.3
BACKEND = keras.backend.backend()
CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
WRAPPED = {
    "recurrent": ("recurrent", {"placement": "recurrent"}),
    "recurrent per sequence": ("recurrent", {"placement": "recurrent", "per_step": False}),
    "variational": ("variational", {"placement": "recurrent"}),
    "variational untied": ("variational", {"placement": "recurrent", "tied_gates": False}),
    "variational 4 groups": ("variational", {"placement": "recurrent", "mask_groups": 4}),
    "weight_drop": ("weight_drop", {"placement": "recurrent"}),
    "zoneout": ("zoneout", {}),
    "zoneout with hidden": ("zoneout", {"hidden_rate": 0.05}),
    "time_distributed": ("time_distributed", {"placement": "input+output"}),
    "native": ("native", {"placement": "recurrent"}),
}
XLA_TOO = ("recurrent", "variational")
PLAIN, KERAS = "plain Keras layer", "Keras recurrent_dropout"


class Clock(keras.callbacks.Callback):
    """Times the steps after the first, to the end of the epoch, when the device is through."""

    def on_train_batch_end(self, batch, logs=None):
        """Starts after the first step."""
        if batch == 0:
            self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Stops."""
        self.seconds = time.perf_counter() - self.started


def layer(name, cell, units, **options_of_layer):
    """Returns the layer of a candidate; None for a wrapper that the cell has not."""
    kind = functools.partial(CELLS[cell], **options_of_layer)
    if name == PLAIN:
        return kind(units)
    if name == KERAS:
        return kind(units, recurrent_dropout=RATE)
    if cell == "gru" and name == "zoneout with hidden":
        return None
    wrapper, options = WRAPPED[name]
    return wrap(kind(units), wrapper, rate=RATE, **options)


def candidates(cell, size, xla, wrapped):
    """Returns the compiled models of one size by name; those `wrapped` run without XLA."""
    _, steps, features, units = size
    made = {name: (layer(name, cell, units), False) for name in (PLAIN, KERAS, *wrapped)}
    if xla and BACKEND != "torch":  # whose `jit_compile` is torch.compile: minutes a model
        made[f"{PLAIN}, XLA"] = CELLS[cell](units, use_cudnn=False), True
        made[f"{KERAS}, XLA"] = CELLS[cell](units, use_cudnn=False, recurrent_dropout=RATE), True
        for name in XLA_TOO:
            made[f"{name}, XLA"] = layer(name, cell, units, use_cudnn=False), True
    models = {}
    for name, (rnn, jit) in made.items():
        if rnn is not None:
            model = keras.Sequential([keras.Input((steps, features)), rnn, keras.layers.Dense(1)])
            model.compile("adam", "mse", jit_compile=jit or BACKEND == "jax")
            models[name] = model
    return models


def measure(models, size, rounds, count):
    """Returns the median step of each model in milliseconds; the models take turns."""
    batch, steps, features, _ = size
    generator = np.random.default_rng(0)
    x = generator.normal(size=(batch * (count + 1), steps, features)).astype("float32")
    y = generator.normal(size=(batch * (count + 1), 1)).astype("float32")
    times = {name: [] for name in models}
    for turn in range(rounds + 1):  # the first turn traces and is not counted
        for name, model in models.items():
            clock, seen = Clock(), batch * (count + 1 if turn else 2)
            fit = {"batch_size": batch, "verbose": 0, "shuffle": False, "callbacks": [clock]}
            model.fit(x[:seen], y[:seen], **fit)
            if turn:
                times[name].append(clock.seconds / count * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def show(cell, size, found):
    """Prints the table of one size."""
    print(f"\n{cell}  (batch, steps, features, units) = {size}")
    print(f"  {'':32} {'ms':>8} {'of plain':>9} {'of rec. dropout':>16}")
    for name, value in found.items():
        print(
            f"  {name:32} {value:8.2f} {value / found[PLAIN]:9.2f} {value / found[KERAS]:16.2f}",
            flush=True,
        )


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="*", default=[",".join(map(str, size)) for size in SIZES])
    parser.add_argument("--cells", nargs="*", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--xla", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--only-xla", action="store_true", help="wrappers with XLA alone")
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    machine = _machine.describe()
    device = (machine["accelerator"] or "cpu").lower().replace(" ", "-")
    out = (
        arguments.out
        or Path(__file__).parent / "results" / f"step_time-{machine['backend']}-{device}.json"
    )
    rows, wrapped = [], () if arguments.only_xla else WRAPPED
    for text in arguments.sizes:
        size = tuple(int(part) for part in text.split(","))
        for cell in arguments.cells:
            keras.utils.clear_session()
            models = candidates(cell, size, arguments.xla, wrapped)
            found = measure(models, size, arguments.rounds, arguments.steps)
            show(cell, size, found)
            rows.append({"cell": cell, "size": size, "milliseconds": found})
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(
                json.dumps({"machine": machine, "rate": RATE, "rows": rows}, indent=1) + "\n"
            )
    print(f"\nwritten to {out}")


if __name__ == "__main__":
    main()
