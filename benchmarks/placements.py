"""Would it pay if the placements of a wrapper shared one compiled model?

    KERAS_BACKEND=jax python benchmarks/placements.py       # some minutes on 2 cores

Rates are variables, so a model with dropout at every site could train a placement with the rates of the
others at 0. It would be traced and compiled once instead of once for each placement, but every step
would compute all sites. This measures both: for each placement the seconds of the first epoch beyond the
steps in it (tracing and compiling, nothing kept from before), and the milliseconds of a step, the placements
taking turns. It prints after how many epochs of a trial the slower steps have cost what the compilations
saved, for a search that tries each placement once. Writes JSON to benchmarks/results/.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import _machine
import keras
import numpy as np

from recdrop_tune.models import fit
from recdrop_tune.wrappers import wrap

SIZES = ["32,8,8,64", "32,50,12,64"]
SAMPLES = 1347  # As many as the digits that searches of the documentation train on.
PLACEMENTS = {
    "recurrent": ["input", "recurrent", "input+recurrent", "output"],
    "variational": ["input", "recurrent", "input+recurrent", "output"],
    "time_distributed": ["input", "output"],
}
EVERY = {
    "recurrent": "input+recurrent+output",
    "variational": "input+recurrent+output",
    "time_distributed": "input+output",
}


class Epochs(keras.callbacks.Callback):
    """Notes the seconds of each epoch."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Stops it."""
        self.seconds.append(time.perf_counter() - self.began)


def compiled(wrapper, placement, size):
    """Returns a compiled model with dropout at the sites of a placement."""
    _, steps, features, units = size
    layer = wrap(keras.layers.LSTM(units), wrapper, placement=placement, rate=0.3)
    model = keras.Sequential([keras.Input((steps, features)), layer, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def measure(wrapper, size, turns):
    """Returns `{placement: (seconds to compile, milliseconds of a step)}`."""
    batch, steps, features, _ = size
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(SAMPLES, steps, features)).astype("float32")
    y, count = x[:, 0, :1], -(-SAMPLES // batch)
    seconds, models = {}, {}
    for placement in (*PLACEMENTS[wrapper], EVERY[wrapper]):
        models[placement] = compiled(wrapper, placement, size)
        seconds[placement] = []
    for _ in range(turns + 1):
        for placement, model in models.items():
            clock = Epochs()
            keras.utils.set_random_seed(0)
            fit(model, x, y, batch_size=batch, epochs=3, verbose=0, callbacks=[clock])
            seconds[placement] += clock.seconds
    found = {}
    for placement, epochs in seconds.items():
        usual = statistics.median(epochs[3:])
        found[placement] = epochs[0] - usual, 1000 * usual / count
    return found


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="*", default=SIZES, help="batch,steps,features,units")
    parser.add_argument("--wrappers", nargs="*", default=list(PLACEMENTS), choices=list(PLACEMENTS))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    machine, rows = _machine.describe(), []
    folder = Path(__file__).parent / "results"
    out = arguments.out or folder / f"placements-{machine['backend']}.json"
    for text in arguments.sizes:
        size = tuple(int(part) for part in text.split(","))
        for wrapper in arguments.wrappers:
            keras.utils.clear_session()
            found = measure(wrapper, size, arguments.turns)
            single = [found[placement] for placement in PLACEMENTS[wrapper]]
            compiling, step = found[EVERY[wrapper]]
            saved = sum(each[0] for each in single) - compiling
            slower = sum(step - each[1] for each in single) / 1000 * -(-SAMPLES // size[0])
            pays = saved / slower if slower > 0 else None  # However long the trials are.
            print(f"\n{wrapper}, (batch, steps, features, units) = {size}, an LSTM")
            for placement, (first, each) in found.items():
                print(
                    f"  {placement:26} compiling {first:5.1f} s   step {each:6.2f} ms", flush=True
                )
            until = "any number of" if pays is None else f"up to {pays:.0f}"
            print(f"  one model for all saves time in trials of {until} epochs")
            row = {"wrapper": wrapper, "size": size, "placements": found, "epochs": pays}
            rows.append(row)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
