"""Does dropout help to forecast motion? The next second of a smartwatch's sensors, ten steps at once.

BasicMotions, which ships with sktime (`pip install 'recdrop-tune[examples]'`): people who stand, walk, run or
play badminton, 10 seconds each, with 10 measurements a second of a 3-axis accelerometer and a 3-axis
gyroscope. From 4 seconds (40 steps, 6 features) the next one is forecast (10 steps of 6 values), all at once
by an LSTM. 28 recordings are trained on, 12 validate, and the 40 of the data set's own test split are looked
at once, at the end.

Takes about 3 minutes on 2 CPU cores. Run it with

    python examples/forecasting.py

The table at the end has the mean absolute error on the test split, in standard deviations of the sensors: of
two naive forecasts, of the best configuration without dropout, and of the best one of all.
"""

import argparse
import os
from importlib import import_module

# TensorFlow looks for a GPU and reports on it at length; set it to 0 to see that.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

import recdrop_tune as rdt

PAST, HORIZON, SECOND = 40, 10, 10
SPACE = {
    "cell": "lstm",
    "units": 64,
    "wrapper": ["none", "recurrent", "variational", "weight_drop", "time_distributed"],
    "placement": ["input", "recurrent", "output", "input+recurrent"],  # where the wrapper has it
    "rate": {"min": 0.1, "max": 0.6, "step": 0.1},
    "learning_rate": 3.0e-3,
}


def from_sktime():
    """Returns the module of sktime's data sets."""
    try:
        return import_module("sktime.datasets")
    except ImportError as missing:
        raise SystemExit(
            "The data of this example ship with sktime: pip install 'sktime>=0.35'"
        ) from missing


def load_recordings(split):
    """Returns recordings, of shape (recordings, 100, 6), and what each one's person did."""
    x, activity = from_sktime().load_basic_motions(
        split=split, return_X_y=True, return_type="numpy3d"
    )
    return np.swapaxes(x, 1, 2).astype("float32"), activity


def windows(recordings):
    """Cuts recordings into what is known, (windows, 40, 6), and what comes next, (windows, 10, 6)."""
    starts = range(0, recordings.shape[1] - PAST - HORIZON + 1, SECOND)
    cut = np.concatenate([recordings[:, start : start + PAST + HORIZON] for start in starts])
    return cut[:, :PAST], cut[:, PAST:]


def error(forecast, actual):
    """Returns the mean absolute error."""
    return float(np.abs(forecast - actual).mean())


def refit(hypermodel, row, result, train, test, seeds):
    """Trains the configuration of a row of trials once for each seed, and returns the errors."""
    trial = result.tuner.oracle.get_trial(row["trial_id"])
    errors = []
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        model = hypermodel.build(trial.hyperparameters)
        fit = {"batch_size": 32, "epochs": int(row["best_epoch"]) + 1, "verbose": 0}
        # As in the search: each epoch has an order of its own.
        hypermodel.fit(trial.hyperparameters, model, *train, **fit)
        errors.append(error(np.asarray(model(test[0])), test[1]))
    return errors


def main():
    """Searches and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--refits", type=int, default=5, help="trainings at the end, of each")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    (recordings, activity), (unseen, _) = load_recordings("train"), load_recordings("test")
    # Windows of one recording resemble each other: a recording is trained on, or validates.
    parts = train_test_split(recordings, train_size=28, stratify=activity, random_state=0)
    mean, scale = parts[0].mean((0, 1)), parts[0].std((0, 1))
    train, validation, known, test = (
        windows((part - mean) / scale) for part in (*parts, recordings, unseen)
    )
    hypermodel = rdt.SequenceRegressor.from_data(train, SPACE, loss="mean_absolute_error")
    result = rdt.tune(
        train,
        validation,
        model=hypermodel,
        objective="val_loss",
        max_trials=arguments.trials,
        epochs=arguments.epochs,
        tracking="motions",
        seed=arguments.seed,
    )
    print(result.summary())

    x, actual = test
    rows = {
        "naive: the last second again": {"error": error(x[:, -SECOND:], actual)},
        "naive: the mean of the window": {"error": error(x.mean(axis=1, keepdims=True), actual)},
    }
    complete = result.trials[result.trials["state"] == "COMPLETE"]  # best first
    chosen = {"no dropout": complete[complete["wrapper"] == "none"], "best": complete}
    seeds = range(arguments.seed + 1, arguments.seed + 1 + arguments.refits)
    for name, trials in chosen.items():
        best = trials.iloc[0]
        errors = refit(hypermodel, best, result, known, test, seeds)
        rows[f"{name} ({best['wrapper']})"] = {"error": np.mean(errors), "std": np.std(errors)}
    print("\nMean absolute error on the test split, in standard deviations")
    print(f"(models: {arguments.refits} trainings with fresh seeds, on all 40 recordings)\n")
    print(pd.DataFrame(rows).T.round(3).to_string(na_rep="-"))


if __name__ == "__main__":
    main()
