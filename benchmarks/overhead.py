"""How much time does a search need in addition to training?

    python benchmarks/overhead.py                        # everything, about 10 minutes on 2 cores
    python benchmarks/overhead.py trials --trials 1000   # one part

trials  Milliseconds a trial of nothing: a `run_trial` that returns a number. Keras Tuner's random search,
        ours (Optuna and pruner), and ours tracked (journal of events, MLflow on sqlite).
share   The part of a small search that building and tracing take: an LSTM of 32 units, 50 steps, 512
        samples, 5 epochs, trials that differ in rate, learning rate and seed. Lost is the time until
        the first step ends, less a step, and the first validation, less a validation.
epoch   How long a training waits for the tracking at the end of an epoch.
report  How long an oracle takes for an epoch: ours, and Keras Tuner's random search.

Prints tables and writes JSON to benchmarks/results/.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import _machine
import _small_search
import keras
import keras_tuner as kt
import numpy as np

import recdrop_tune as rdt

RESULTS = Path(__file__).parent / "results" / "overhead.json"
STOCK, OURS, TRACKED = "Keras Tuner, RandomSearch", "ours", "ours, tracked"


def nothing(base):
    """Returns a tuner class whose trials are nothing; it notes when each begins."""

    class Nothing(base):
        def run_trial(self, trial, *args, **kwargs):
            self.began.append((time.perf_counter(), time.process_time()))
            return float(self.numbers.random())

    Nothing.began, Nothing.numbers = [], np.random.default_rng(0)
    return Nothing


def no_op_search(kind, trials, folder):
    """Returns milliseconds of each trial of a search, from one begin to the next (or to the end).

    By the clock on the wall, and of the processor's, of all threads.
    """
    space = rdt.SearchSpace.load(_small_search.SPACE)
    stock = kind == STOCK
    oracle = (
        kt.oracles.RandomSearchOracle(kt.Objective("val_loss", "min"), trials, seed=1)
        if stock
        else rdt.OptunaOracle("val_loss", max_trials=trials, seed=0)
    )
    tuner = nothing(kt.Tuner if stock else rdt.Tuner)(
        oracle, lambda hp: space.sample(hp), directory=folder
    )
    if kind == TRACKED:
        rdt.track(tuner, rdt.MLflow("overhead", uri=f"sqlite:///{folder}/mlflow.db"))
    tuner.search(verbose=0)
    ends = [*tuner.began, (time.perf_counter(), time.process_time())]
    return np.diff(np.array(ends).T) * 1000


def trials_part(arguments):
    """Measures trials of nothing."""
    rows = []
    print(
        f"{'ms a trial (processor)':28} {'trials':>6} {'mean':>14} {'first 10 %':>14} {'last 10 %':>14}"
    )
    for trials in arguments.trials:
        for kind in (STOCK, OURS, TRACKED):
            with tempfile.TemporaryDirectory() as folder:
                wall, processor = no_op_search(kind, trials, folder)
            row = {"kind": kind, "trials": trials, "wall": means(wall)}
            rows.append({**row, "processor": means(processor)})
            both = zip(means(wall).values(), means(processor).values(), strict=True)
            cells = "".join(f"{f'{one:.1f} ({other:.1f})':>15}" for one, other in both)
            print(f"{kind:28} {trials:6}{cells}", flush=True)
    return rows


def means(times):
    """Returns the mean of all trials, of the first tenth and of the last.

    The first and the last trial count in the first of them only: the first imports and makes tables, with
    the last a search waits for MLflow.
    """
    inside, tenth = times[1:-1], max(1, len(times) // 10)
    parts = {"mean": times, "first tenth": inside[:tenth], "last tenth": inside[-tenth:]}
    return {name: round(float(part.mean()), 2) for name, part in parts.items()}


def share_part(arguments):
    """Measures what building and tracing take; the searches take turns."""
    found = {kind: [] for kind in _small_search.KINDS}
    per_turn = max(2, arguments.small_trials // arguments.turns)
    for turn in range(arguments.turns):
        for kind, times in found.items():
            times += _small_search.run(kind, per_turn, turn + 1, arguments.epochs)
    rows = []
    print(f"\n{'a small search':28} {'trials':>6} {'s a trial':>10} {'lost':>6}")
    for kind, times in found.items():
        seconds, lost = (sum(part) for part in zip(*times, strict=True))
        row = {"kind": kind, "trials": len(times), "trials_per_search": per_turn}
        row |= {"seconds": round(seconds / len(times), 3), "lost": round(lost / seconds, 3)}
        rows.append(row)
        print(f"{kind:28} {len(times):6} {row['seconds']:10.2f} {row['lost']:6.0%}", flush=True)
    return rows


class Reported(keras.callbacks.Callback):
    """Reports each epoch to a tracking as `track` does, and notes how long that took."""

    def __init__(self, tracking, times):
        super().__init__()
        self.tracking, self.times = tracking, times

    def on_epoch_end(self, epoch, logs=None):
        """Reports."""
        metrics = {name: float(value) for name, value in logs.items()}
        began = time.perf_counter()
        self.tracking.reporter.epoch_ended(0, epoch, metrics, 0.1)
        self.times.append((time.perf_counter() - began) * 1000)


def epoch_part(arguments):
    """Measures the tracking of an epoch during a training, while MLflow is written to."""
    times = []
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(320, 50, 12)), generator.normal(size=(320, 1))
    with tempfile.TemporaryDirectory() as folder:
        oracle = rdt.OptunaOracle("val_loss", max_trials=1, seed=0)
        tuner = rdt.Tuner(oracle, _small_search.build, directory=folder)
        uri = f"sqlite:///{folder}/mlflow.db"
        with rdt.track(tuner, rdt.MLflow("overhead", uri=uri)) as tracking:
            trial = tuner.oracle.create_trial("overhead")
            model = _small_search.build(trial.hyperparameters)
            fit = {"epochs": arguments.long, "verbose": 0, "validation_split": 0.2}
            model.fit(x, y, callbacks=[Reported(tracking, times)], **fit)
    low, middle, high = np.quantile(times, (0.05, 0.5, 0.99))
    print(
        f"\ntracking of an epoch: {middle:.2f} ms, 99 % below {high:.2f} ms ({len(times)} epochs)"
    )
    return {"epochs": len(times), "5 %": low, "median": middle, "99 %": high}


def report_part(arguments):
    """Measures what the oracles take for an epoch of a trial."""
    names = "loss", "mae", "val_loss", "val_mae"
    found = {}
    for name, kind in (("ours", rdt.OptunaOracle), ("Keras Tuner", kt.oracles.RandomSearchOracle)):
        oracle, times = kind("val_loss", max_trials=1, seed=0), []
        with tempfile.TemporaryDirectory() as folder:
            kt.Tuner(oracle, _small_search.build, directory=folder)
            oracle.verbose = 0
            trial = oracle.create_trial("overhead")
            for epoch in range(arguments.long):
                began = time.perf_counter()
                oracle.update_trial(
                    trial.trial_id, dict.fromkeys(names, 1 / (1 + epoch)), step=epoch
                )
                times.append((time.perf_counter() - began) * 1000)
        found[name] = round(float(np.mean(times)), 3)
        print(f"{name}: {found[name]:.2f} ms an epoch, on average over {arguments.long}")
    return {"epochs": arguments.long, "metrics": len(names), **found}


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help="trials, share, epoch, report; all by default")
    parser.add_argument("--trials", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--small-trials", type=int, default=20)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--long", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    parts = {"trials": trials_part, "share": share_part, "epoch": epoch_part, "report": report_part}
    for name in arguments.parts or parts:
        result = {"load": os.getloadavg()[0], "result": parts[name](arguments)}
        held = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        held |= {"machine": _machine.describe(), name: result}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
