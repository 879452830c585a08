"""How long does a whole search take, against Keras Tuner's over the same configurations?

    python benchmarks/search_time.py                                # about an hour on 2 cores
    python benchmarks/search_time.py --sizes digits --backends jax tensorflow --turns 1

Every search has its own process, empty folders and an empty compilation cache. The searches of a size take
turns, and a number is the median over the turns.

Keras Tuner     `keras_tuner.GridSearch` over 12 configurations of a plain Keras model: no dropout, and
                Keras's own `recurrent_dropout` at five rates, with two learning rates each.
same trials     `tune` over those 12 configurations, without pruning, tracked by MLflow as always.
warm            The same once more on JAX, in another process and folder: what was compiled is in the cache.
quick           `tune` with the preset `quick` for as many trials, without pruning: four wrappers at up to
                four placements, with more structures to compile.
defaults        `tune` with the preset `quick` as it is: with pruning.

`until` is the number of seconds until an epoch was as good as the best one of Keras Tuner, whose search has
to be measured too.

`compiling` is what the steps and validations take beyond their medians, all trainings together: tracing and
compiling. `between` is what lies between two trainings: building models, oracle, tracking, files. The time
of `import` is counted apart. Prints tables and writes JSON to benchmarks/results/, where rows that were not
measured anew are kept.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "search_time.json"
BACKENDS = ("tensorflow", "jax", "torch")
KERAS_TUNER, SAME, WARM = "Keras Tuner", "same trials", "warm"
KINDS = (KERAS_TUNER, SAME, WARM, "quick", "defaults")
RATES, LEARNING_RATES = [0.1, 0.2, 0.3, 0.4, 0.5], [1e-3, 3e-3]

# Cell, units, epochs and batch of each size; its data are below.
SIZES = {
    "digits": ("lstm", 64, 50, 32),
    "middle": ("lstm", 64, 12, 32),
    "characters": ("gru", 64, 12, 32),
}


def data(size):
    """Returns `(x, y)` to train on and to validate with, and how many classes or words there are."""
    import numpy as np

    if size == "characters":  # A language model of the help texts that ship with Python.
        import _tasks

        train, validation, _ = _tasks.TASKS["characters"].data()
        return train, validation, 1 + max(int(part[0].max()) for part in (train, validation))
    if size == "digits":  # 8 steps of 8 features.
        from sklearn.datasets import load_digits

        digits = load_digits()
        x, y = digits.images.astype("float32") / 16.0, digits.target
        return (x[:1347], y[:1347]), (x[1347:], y[1347:]), 10
    # 50 steps of 12 features: which of them is the largest on the whole?
    generator = np.random.default_rng(0)
    x = generator.normal(size=(1000, 50, 12)).astype("float32")
    y = x.sum(axis=1).argmax(axis=-1)
    return (x[:750], y[:750]), (x[750:], y[750:]), 12


def plain_builder(size, count, shape):
    """Returns what builds the plain Keras model that Keras Tuner searches."""
    import keras

    cell, units, _, _ = SIZES[size]
    layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[cell]

    def build(hp):
        rate = 0.0
        if hp.Choice("wrapper", ["none", "native"]) == "native":
            with hp.conditional_scope("wrapper", ["native"]):
                rate = hp.Choice("rate", RATES)
        learning_rate = hp.Choice("learning_rate", LEARNING_RATES)
        tokens = size == "characters"
        model = keras.Sequential([keras.Input((None,) if tokens else shape)])
        if tokens:
            model.add(keras.layers.Embedding(count, units))
        model.add(layer(units, recurrent_dropout=rate, return_sequences=tokens))
        model.add(keras.layers.Dense(count))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(learning_rate), loss, metrics=["accuracy"])
        return model

    return build


def clock_of(keras):
    """Returns a class of callbacks that note when things end; every copy writes into one list."""

    class Clock(keras.callbacks.Callback):
        notes = []  # noqa: RUF012
        counts_steps = True  # It copes with a call for several batches, as `tune` has them.

        def __deepcopy__(self, memo):
            return type(self)()

        def note(self, what, value=None):
            self.notes.append((what, time.perf_counter(), value))

        def on_train_begin(self, logs=None):
            self.note("begin")

        def on_train_batch_end(self, batch, logs=None):
            self.note("step")

        def on_test_begin(self, logs=None):
            self.note("test begin")

        def on_test_end(self, logs=None):
            self.note("test end")

        def on_epoch_begin(self, epoch, logs=None):
            self.note("epoch begin")

        def on_epoch_end(self, epoch, logs=None):
            self.note("epoch end", float(logs["val_loss"]))

        def on_train_end(self, logs=None):
            self.note("end")

    return Clock


def parts_of(notes):
    """Returns the times within and between trainings, by part."""
    spans = {"step": [], "test end": []}
    for (before, start, _), (what, end, _) in pairwise(notes):
        if what == "step" and before in ("epoch begin", "step"):
            spans["step"].append(end - start)
        if what == "test end":
            spans["test end"].append(end - start)
    usual = {what: statistics.median(times) * len(times) for what, times in spans.items()}
    begins = [at for what, at, _ in notes if what == "begin"]
    ends = [at for what, at, _ in notes if what == "end"]
    return {
        "steps": usual["step"],
        "validation": usual["test end"],
        "compiling": sum(sum(times) - usual[what] for what, times in spans.items()),
        "between": sum(begin - end for end, begin in zip(ends, begins[1:], strict=False)),
        "trainings": sum(end - begin for begin, end in zip(begins, ends, strict=True)),
    }


def search(kind, size, trials, epochs, target, folder):
    """Runs one search in this process, and returns what is to be known of it."""
    began = time.perf_counter()
    import keras
    import keras_tuner as kt

    cell, units, _, batch = SIZES[size]
    train, validation, count = data(size)
    clock = clock_of(keras)
    if kind == KERAS_TUNER:
        imported = time.perf_counter()
        build = plain_builder(size, count, train[0].shape[1:])
        tuner = kt.GridSearch(build, "val_loss", max_trials=trials, seed=1, directory=folder)
        fit = {"validation_data": validation, "epochs": epochs, "batch_size": batch, "verbose": 0}
        tuner.search(*train, callbacks=[clock()], **fit)
        states = [trial.status for trial in tuner.oracle.trials.values()]
    else:
        import recdrop_tune as rdt

        tune = rdt.tune  # What it needs is imported here.
        imported = time.perf_counter()
        same = kind in (SAME, WARM)
        unpruned = rdt.Optuna("random", pruner="none")
        space = {"cell": cell, "units": units, "wrapper": ["none", "native"], "rate": RATES}
        space |= {"placement": "recurrent", "learning_rate": LEARNING_RATES}
        if not same:
            quick = rdt.SearchSpace.load("quick").to_dict()
            space = {**quick, "cell": cell, "units": units}
        if size == "characters":
            model = rdt.LanguageModel(count, space)
        else:
            model = rdt.SequenceClassifier(count, train[0].shape[1:], space)
        result = tune(
            train,
            validation,
            model,
            max_trials=trials,
            epochs=epochs,
            batch_size=batch,
            tuner="optuna" if kind == "defaults" else unpruned,
            training=rdt.Training(callbacks=[clock]),
            tracking=rdt.MLflow("search time", uri=f"sqlite:///{folder}/mlflow.db"),
            directory=Path(folder) / "search",
            seed=1,
            verbose=0,
        )
        states = list(result.trials["state"])
    ended = time.perf_counter()
    notes = clock.notes
    losses = [value for what, _, value in notes if what == "epoch end"]
    found = [(at - imported, value) for what, at, value in notes if what == "epoch end"]
    reached = [at for at, value in found if kind != KERAS_TUNER and value <= target]
    return {
        "seconds": ended - imported,
        "import": imported - began,
        "trials": len(states),
        "best": min(losses),
        "epochs": len(losses),
        "until_as_good": min(reached, default=None),
        **parts_of(notes),
    }


def in_a_process(backend, kind, size, arguments, target, cache):
    """Runs one search in its own process."""
    epochs = arguments.epochs or SIZES[size][2]
    with tempfile.TemporaryDirectory() as folder:
        told = [kind, size, arguments.trials, epochs, target, folder]
        environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment["XDG_CACHE_HOME"] = str(cache)  # Where `tune` keeps what JAX has compiled.
        command = [
            arguments.python.get(backend, sys.executable),
            __file__,
            "--one",
            json.dumps(told),
        ]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
        if done.returncode != 0:
            raise RuntimeError(f"{backend}, {kind}, {size}: {done.stderr}")
        row = json.loads(done.stdout.splitlines()[-1])
        arguments.machines[backend] = row.pop("machine")
        return {**row, "process": time.perf_counter() - began}


def measure(size, arguments):
    """Runs the searches of one size, which take turns; returns a row for each backend and kind."""
    found, best, load = {}, {}, os.getloadavg()[0]
    for turn in range(arguments.turns):
        for backend in arguments.backends:
            with tempfile.TemporaryDirectory() as folder:
                for kind in arguments.kinds:
                    if kind == WARM and backend != "jax":
                        continue  # Nothing is kept there.
                    cache = Path(folder) / ("same" if kind in (SAME, WARM) else kind)
                    target = best.get(backend, 0.0)
                    row = in_a_process(backend, kind, size, arguments, target, cache)
                    if kind == KERAS_TUNER:
                        best.setdefault(backend, row["best"])
                    found.setdefault((backend, kind), []).append(row)
                    print(
                        f"{size}, turn {turn + 1}: {backend:10} {kind:12} {row['seconds']:6.1f} s",
                        flush=True,
                    )
    rows = []
    for (backend, kind), runs in found.items():
        known = {
            name: [run[name] for run in runs if run[name] is not None]
            for name in runs[0]
        }  # fmt: skip
        medians = {name: statistics.median(each) if each else None for name, each in known.items()}
        every = [round(run["seconds"], 2) for run in runs]
        about = {"load": round(load, 2), "all_seconds": every}
        rows.append({"backend": backend, "kind": kind, **medians, **about})
    return rows


def show(size, rows):
    """Prints the table of one size."""
    cells = ("steps", "validation", "compiling", "between")
    print(f"\n{size}: {SIZES[size][0]}, seconds")
    print(f"  {'':24} {'search':>7} {'of KT':>6} {'trials':>6} {'until':>6}", end="")
    print("".join(f"{name:>11}" for name in cells))
    for row in rows:
        base = [
            each["seconds"]
            for each in rows
            if (each["backend"], each["kind"]) == (row["backend"], KERAS_TUNER)
        ]
        share = f"{row['seconds'] / base[0]:6.2f}" if base else " " * 6
        until = "" if row["until_as_good"] is None else f"{row['until_as_good']:.1f}"
        print(
            f"  {row['backend']:10} {row['kind']:13} {row['seconds']:7.1f} {share} "
            f"{row['trials']:6.0f} {until:>6}" + "".join(f"{row[name]:11.1f}" for name in cells),
            flush=True,
        )


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    parser.add_argument("--backends", nargs="*", default=installed, choices=BACKENDS)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, help="of each trial; the size's own by default")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--python",
        nargs="*",
        default=[],
        metavar="BACKEND=PATH",
        help="the Python that has a backend, where it is another one's environment",
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        found = search(*json.loads(arguments.one))
        import _machine

        print(json.dumps({**found, "machine": _machine.describe()}))
        return
    arguments.python = dict(each.split("=", 1) for each in arguments.python)
    arguments.machines = {}

    for size in arguments.sizes:
        rows = measure(size, arguments)
        held = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        anew = {(row["backend"], row["kind"]) for row in rows}
        rows += [r for r in held.get(size, []) if (r["backend"], r["kind"]) not in anew]
        rows.sort(key=lambda row: (BACKENDS.index(row["backend"]), KINDS.index(row["kind"])))
        show(size, rows)
        held |= {"machines": held.get("machines", {}) | arguments.machines, size: rows}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
