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
pause   How much longer a part of a training takes than its epochs, from the call of the tuner until the
        trial is written (an LSTM of 64 units), how much of it Keras takes to build the model, and how
        long a proposal takes when 200 trials have paused after up to 81 epochs.

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
import optuna

import recdrop_tune as rdt
from recdrop_tune.oracle import SurrogateSampler
from recdrop_tune.wrappers import wrap

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


class ToTheEnd(rdt.OptunaOracle):
    """Ends when all trials are complete."""

    worth = -1.0


def pause_part(arguments):
    """Measures pauses."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(320, 20, 12)), generator.normal(size=(320, 1))
    data = {"x": x, "y": y, "epochs": 30, "validation_data": (x, y), "verbose": 0}
    marks, outside, builds = [], [], []

    def build(hp):
        began = time.perf_counter()
        model = lstm(hp)
        builds.append(time.perf_counter() - began)
        return model

    def mark(*_):
        marks.append(time.perf_counter())

    class Timed(rdt.Tuner):
        def on_trial_begin(self, trial):
            mark()
            super().on_trial_begin(trial)

        def on_trial_end(self, trial):
            super().on_trial_end(trial)
            mark()
            outside.append(marks[1] - marks[0] + marks[-1] - marks[-2])
            marks.clear()

    for turn in range(arguments.turns + 1):
        if turn == 1:  # The first search compiles what the others find compiled.
            outside.clear()
            builds.clear()
        oracle = ToTheEnd("val_loss", 6, pruner="pause", seed=turn)
        epochs = keras.callbacks.LambdaCallback(on_epoch_begin=mark, on_epoch_end=mark)
        with tempfile.TemporaryDirectory() as folder:
            Timed(oracle, build, directory=folder, seed=0).search(**data, callbacks=[epochs])
    parts = {"pause": outside, "build": builds, "proposal": list(proposals())}
    found = {name: round(1000 * float(np.median(each)), 1) for name, each in parts.items()}
    print(
        f"\na pause {found['pause']:.0f} ms, {found['build']:.0f} of them to build the model; "
        f"a proposal after 200 trials {found['proposal']:.0f} ms"
    )
    return {"slices": len(outside), **found}


def lstm(hp):
    """Builds an LSTM of 64 units."""
    rate = hp.Float("rate", 0.05, 0.6)
    layer = wrap(keras.layers.LSTM(64), "recurrent", rate=rate, placement="recurrent")
    model = keras.Sequential([keras.Input((20, 12)), layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    return model


def proposals():
    """Returns the seconds of some proposals after 200 trials."""
    epochs, generator = 100, np.random.default_rng(0)
    rate = optuna.distributions.FloatDistribution(0.0, 1.0)
    study = optuna.create_study(sampler=SurrogateSampler(seed=0))
    for number in range(200):
        curve = 1 + generator.random() + 1 / np.arange(1, 82)
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING,
                params={"rate": generator.random(), "units": number % 7},
                distributions={"rate": rate, "units": optuna.distributions.IntDistribution(0, 6)},
                intermediate_values=dict(enumerate(curve)),
            )
        )
    for _ in range(10):
        began = time.perf_counter()
        study.sampler.rank(study, range(200), epochs)
        yield time.perf_counter() - began


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", help="trials, share, epoch, report, pause; all by default"
    )
    parser.add_argument("--trials", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--small-trials", type=int, default=20)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--long", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    parts = {"trials": trials_part, "share": share_part, "epoch": epoch_part}
    parts |= {"report": report_part, "pause": pause_part}
    for name in arguments.parts or parts:
        result = {"load": os.getloadavg()[0], "result": parts[name](arguments)}
        held = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        held |= {"machine": _machine.describe(), name: result}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
