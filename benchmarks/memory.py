"""Does the memory of a process grow with its trials? (keras-tuner issues 395 and 873)

    python benchmarks/memory.py                 # 100 trials with each tuner, about 6 minutes on 2 cores
    python benchmarks/memory.py --trials 20

Trains small LSTMs whose number of units differs from trial to trial, so that nearly every one is traced
anew, with Keras Tuner's own tuner and with ours, each in its own process. The resident memory is
read at the end of each trial; growth is from trial 10 to the last. Prints it and writes JSON to
benchmarks/results/.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RESULTS = Path(__file__).parent / "results" / "memory.json"
KINDS = {"Keras Tuner": None, "ours": {}, "ours, reuse_models=0": {"reuse_models": 0}}
"""The arguments of our tuner."""

_FIRST = 10
_BYTES = 2**20


def resident():
    """Returns the resident memory of this process in MiB."""
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _BYTES


def search(kind, trials, units):
    """Runs a search and prints the memory after each trial."""
    import keras
    import keras_tuner as kt
    import numpy as np

    import recdrop_tune as rdt
    from recdrop_tune.wrappers import wrap

    def build(hp):
        layer = keras.layers.LSTM(hp.Int("units", 4, units))
        layer = wrap(layer, "recurrent", rate=hp.Float("rate", 0.1, 0.6), placement="recurrent")
        model = keras.Sequential([keras.Input((10, 4)), layer, keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(1e-3), "mse")
        return model

    base = kt.Tuner if KINDS[kind] is None else rdt.Tuner

    class Weighed(base):
        def on_trial_end(self, trial):
            super().on_trial_end(trial)
            print(f"resident {resident():.1f}", flush=True)

    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(64, 10, 4)), generator.normal(size=(64, 1))
    own = {} if KINDS[kind] is None else {"seed": 0, **KINDS[kind]}
    oracle = kt.oracles.RandomSearchOracle("val_loss", max_trials=trials, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        tuner = Weighed(oracle, build, directory=folder, **own)
        tuner.search(x, y, validation_split=0.5, epochs=2, verbose=0)


def measure(kind, trials, units):
    """Runs a search in its own process; returns the memory after each trial in MiB."""
    command = [sys.executable, __file__, "--search", kind]
    command += ["--trials", str(trials), "--units", str(units)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {done.stderr}")
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("resident ")]
    return [float(value) for _, value in lines]


def main():
    """Measures, prints and writes."""
    import _machine

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--search", choices=list(KINDS), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.search:
        search(arguments.search, arguments.trials, arguments.units)
        return
    rows = []
    first = min(_FIRST, arguments.trials)
    print(f"{'MiB':24} {f'trial {first}':>10} {f'trial {arguments.trials}':>10} {'growth':>8}")
    for kind in arguments.kinds:
        memory = measure(kind, arguments.trials, arguments.units)
        growth = memory[-1] / memory[first - 1] - 1
        rows.append({"kind": kind, "growth": round(growth, 3), "mebibytes": memory})
        print(f"{kind:24} {memory[first - 1]:10.0f} {memory[-1]:10.0f} {growth:8.1%}", flush=True)
        held = {"machine": _machine.describe(), "trials": arguments.trials, "rows": rows}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
