"""How to use dropout in an LSTM or a GRU on cuDNN? A comparison of the three usual ways.

Keras leaves cuDNN as soon as `recurrent_dropout` is above 0. (Keras no longer has `CuDNNLSTM` and
`CuDNNGRU`: on a GPU, `keras.layers.LSTM` and `GRU` use cuDNN.) The ways around it:

    1  a wrapper that drops units at each time step, inside the recurrence
    2  TimeDistributed(Dropout), before or after the layer
    3  a custom mask, as in a Lambda layer

This script compares them, as implemented in this package, with the plain layer and with Keras's own way: the
time of a training step, its kernel, and the score.

The time is for a batch of 32 random sequences of 100 steps; all models take turns. The score is for the
handwritten digits that ship with scikit-learn, read row by row: sequences of 8 steps with 8 features,
10 classes; 300 to train on, 1497 to validate. Each way has the better of two rates, and each
score is the mean of three trainings at the best epoch of their mean curve. The model is one layer of 32
units.

Takes about 5 minutes on 2 CPU cores. Run it with

    python examples/three_ways.py

It prints a table for each cell. The trials of the scores are in MLflow too; the last line shows how to
open them.
"""

import argparse
import os
import statistics
import time

# TensorFlow looks for a GPU and reports on it at length; set it to 0 to see that.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
from keras import ops
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import recdrop_tune as rdt
from recdrop_tune.wrappers import (
    LambdaDropoutWrapper,
    RecurrentDropoutWrapper,
    TimeDistributedDropoutWrapper,
)

CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
PLAIN = "plain layer"
UNITS = 32


@keras.saving.register_keras_serializable(package="three_ways")
def whole_steps(shape, rate, seed):
    """Noise that drops whole time steps: all features of a step, or none. Its mean is 1."""
    kept = keras.random.uniform((shape[0], shape[1], 1), seed=seed) >= rate
    return ops.cast(kept, "float32") / (1.0 - rate)


def recurrent_layer(way, kind, rate):
    """Returns the layer of a way: `kind` is `keras.layers.LSTM` or `keras.layers.GRU`."""
    if way == "Keras's recurrent_dropout":
        return kind(UNITS, recurrent_dropout=rate)
    layer = kind(UNITS)
    if way == "1 inside, each step":
        return RecurrentDropoutWrapper(layer, rate)
    if way == "2 TimeDistributed before":
        return TimeDistributedDropoutWrapper(layer, rate, placement="input")
    if way == "2 TimeDistributed after":
        return TimeDistributedDropoutWrapper(layer, rate, placement="output")
    if way == "3 Lambda, a mask of one's own":
        return LambdaDropoutWrapper(layer, rate, function=whole_steps)
    return layer


# The hyperparameters of a trial. The package knows the name `wrapper` and its values, so it gives a trial the
# seeds of its twin, the same configuration without dropout.
WAYS = {
    PLAIN: ("none", None),
    "Keras's recurrent_dropout": ("native", None),
    "1 inside, each step": ("recurrent", None),
    "2 TimeDistributed before": ("time_distributed", "input"),
    "2 TimeDistributed after": ("time_distributed", "output"),
    "3 Lambda, a mask of one's own": ("lambda", None),
}


def make_model(way, cell, rate):
    """Returns a compiled model with one recurrent layer."""
    # First, so that under one seed its weights do not depend on the seeds of the dropout.
    head = keras.layers.Dense(10, activation="softmax")
    model = keras.Sequential(
        [keras.Input((None, 8)), recurrent_layer(way, CELLS[cell], rate), head]
    )
    adam = keras.optimizers.Adam(3e-3)
    model.compile(adam, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def step_times(models, steps, rounds):
    """Returns the milliseconds of a training step of each model, the median over the rounds."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(32, steps, 8)).astype("float32"), random.integers(0, 10, 32)
    times = {way: [] for way in models}
    for turn in range(rounds + 1):
        for (
            way,
            model,
        ) in models.items():  # They take turns, so that a busy moment hits all of them.
            for _ in range(5):
                start = time.perf_counter()
                model.train_on_batch(x, y)
                if turn:  # The first turn traces.
                    times[way].append((time.perf_counter() - start) * 1000)
    return {way: statistics.median(values) for way, values in times.items()}


def kernels(cell, rate, steps, rounds):
    """Returns a frame: a row for each way, what a step takes and on which kernel."""
    models = {way: make_model(way, cell, rate) for way in WAYS}
    times = step_times(models, steps, rounds)
    rows = []
    for way, model in models.items():
        (row,) = rdt.explain(model).rows
        rows.append(
            {
                "way": way,
                "ms/step": round(times[way], 2),
                "of plain": round(times[way] / times[PLAIN], 2),
                "kernel here": row.kernel,
                "on a GPU": row.on_gpu if row.on_gpu == "cuDNN" else "not cuDNN",
            }
        )
    return pd.DataFrame(rows).set_index("way")


def load_data(train_samples):
    """Returns `(x, y)` twice: x of shape (samples, 8, 8) in [0, 1], y the digit."""
    digits = load_digits()
    x = digits.images.astype("float32") / 16.0
    x_train, x_val, y_train, y_val = train_test_split(
        x, digits.target, train_size=train_samples, stratify=digits.target, random_state=0
    )
    return (x_train, y_train), (x_val, y_val)


def search(cells, rates, arguments):
    """Trains each way with each rate on the digits, as a grid search over a build function."""
    wrappers = list(dict.fromkeys(wrapper for wrapper, _ in WAYS.values()))

    def build(hp):
        cell, wrapper = hp.Choice("cell", cells), hp.Choice("wrapper", wrappers)
        placement, rate = None, 0.0
        with hp.conditional_scope("wrapper", ["time_distributed"]):
            if wrapper == "time_distributed":
                placement = hp.Choice("placement", ["input", "output"])
        with hp.conditional_scope("wrapper", wrappers[1:]):  # The plain layer has no rate.
            if wrapper != "none":
                rate = hp.Choice("rate", rates)
        return make_model(way_of(wrapper, placement), cell, rate)

    train, validation = load_data(arguments.train_samples)
    return rdt.tune(
        train,
        validation,
        model=build,
        tuner="grid",
        max_trials=len(cells) * (1 + len(rates) * (len(WAYS) - 1)),  # all that there are
        epochs=arguments.epochs,
        training=rdt.Training(arguments.seeds, fit={"validation_batch_size": 500}),
        tracking="three-ways",
        seed=arguments.seed,
    )


def way_of(wrapper, placement):
    """Returns the name of a way."""
    placement = placement if wrapper == "time_distributed" else None
    return next(way for way, named in WAYS.items() if named == (wrapper, placement))


def scores(trials, cell):
    """Returns a frame: a row for each way, with the better one of its rates."""
    trials = trials[trials["cell"] == cell]  # best first
    ways = [way_of(*named) for named in zip(trials["wrapper"], trials["placement"], strict=True)]
    best = trials.assign(way=ways).drop_duplicates("way").set_index("way")
    rate = best["rate"].astype("string").fillna("-")
    return best[["val_loss", "val_accuracy"]].astype(float).round(3).assign(rate=rate)


def main():
    """Times, trains, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", choices=list(CELLS), default=list(CELLS))
    parser.add_argument("--rates", type=float, nargs="+", default=[0.2, 0.4])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each way and rate")
    parser.add_argument("--train-samples", type=int, default=300)
    parser.add_argument("--steps", type=int, default=100, help="of the sequences that are timed")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each model that is timed")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    timed = {
        cell: kernels(cell, arguments.rates[-1], arguments.steps, arguments.rounds)
        for cell in arguments.cells
    }
    result = search(arguments.cells, arguments.rates, arguments)
    for cell in arguments.cells:
        table = timed[cell].join(scores(result.trials, cell))
        print(f"\n{cell.upper()}\n{table.rename_axis(None).to_string()}")
    if result.ui_command:
        print(f"\nBrowse the trials: {result.ui_command}")


if __name__ == "__main__":
    main()
