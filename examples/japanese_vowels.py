"""Which dropout for sequences of different lengths? Nine speakers, told apart by how they say two vowels.

JapaneseVowels, which ships with sktime (`pip install 'recdrop-tune[examples]'`): utterances of 7 to 29
frames with 12 features (coefficients of the spectrum), each by one of nine speakers. 180 of them are trained
on, 90 validate, and the 370 of the data set's own test split are looked at once, at the end. The model is a
GRU.

Short utterances are padded on the right, and a mask tells the model which frames are padding. The side
matters: cuDNN takes a mask only where the padding is on the right. Padded in front, a batch is computed
correctly too, but in the step loop (and with a plain Keras layer on a GPU it is an error).

Takes about 2 minutes on 2 CPU cores. Run it with

    python examples/japanese_vowels.py

The search chooses by the 90 that validate. Its best configuration, and its best one without dropout, are
then trained on all 270 with fresh seeds, and the table at the end has their log-loss and accuracy on the
test split.
"""

import argparse
import os
from importlib import import_module

# TensorFlow looks for a GPU and reports on it at length; set it to 0 to see that.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

import recdrop_tune as rdt

PADDING = 0.0
SPACE = {
    "cell": "gru",
    "units": 32,
    "wrapper": ["none", "recurrent", "variational", "weight_drop", "time_distributed"],
    "placement": ["input", "recurrent", "input+recurrent"],  # offered only where the wrapper has it
    "rate": {"min": 0.1, "max": 0.6, "step": 0.1},
    "learning_rate": 1.0e-2,
}


def from_sktime():
    """Returns the module of sktime's data sets."""
    try:
        return import_module("sktime.datasets")
    except ImportError as missing:
        raise SystemExit(
            "The data of this example ship with sktime: pip install 'sktime>=0.35'"
        ) from missing


def load_split(split):
    """Returns x of shape (utterances, 29, 12), padded on the right, and y, the speaker from 0 to 8."""
    frames, speakers = from_sktime().load_japanese_vowels(split=split, return_X_y=True)
    utterances = [np.stack(list(features), axis=-1) for features in frames.to_numpy()]
    x = keras.utils.pad_sequences(
        utterances, maxlen=29, dtype="float32", padding="post", value=PADDING
    )
    return x, speakers.astype(int) - 1


def refit(hypermodel, trial, epochs, train, test, seeds):
    """Trains a configuration on all training data, once for each seed, and scores it on the test split."""
    x, y = test
    rows = []
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        model = hypermodel.build(trial.hyperparameters)
        # As in the search: each epoch has an order of its own.
        hypermodel.fit(
            trial.hyperparameters, model, *train, batch_size=30, epochs=epochs, verbose=0
        )
        probabilities = np.asarray(model(x), "float64")
        probabilities /= probabilities.sum(axis=1, keepdims=True)  # float32 rows sum to nearly 1
        rows.append(
            {
                "log-loss": log_loss(y, probabilities, labels=range(9)),
                "accuracy": accuracy_score(y, probabilities.argmax(axis=1)),
            }
        )
    return pd.DataFrame(rows)


def on_the_test_split(result, hypermodel, train, test, seeds):
    """Returns a frame: the best configuration, and the best one without dropout."""
    complete = result.trials[result.trials["state"] == "COMPLETE"]  # best first
    rows = {}
    for name, trials in {
        "best": complete,
        "no dropout": complete[complete["wrapper"] == "none"],
    }.items():
        row = trials.iloc[0]
        trial = result.tuner.oracle.get_trial(row["trial_id"])
        scores = refit(hypermodel, trial, int(row["best_epoch"]) + 1, train, test, seeds)
        rows[name] = {
            "wrapper": row["wrapper"],
            "epochs": int(row["best_epoch"]) + 1,
            **{key: f"{scores[key].mean():.3f} +- {scores[key].std():.3f}" for key in scores},
        }
    return pd.DataFrame(rows).T


def main():
    """Searches, confirms, and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--refits", type=int, default=5, help="trainings at the end, of each")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    x, y = load_split("train")
    x_train, x_val, y_train, y_val = train_test_split(
        x, y, train_size=180, stratify=y, random_state=0
    )
    hypermodel = rdt.SequenceClassifier.from_data((x, y), SPACE, mask_value=PADDING)
    result = rdt.tune(
        (x_train, y_train),
        (x_val, y_val),
        model=hypermodel,
        objective="val_loss",
        max_trials=arguments.trials,
        epochs=arguments.epochs,
        batch_size=30,
        tracking="japanese-vowels",
        seed=arguments.seed,
    )
    print(result.summary())
    print(f"\n{rdt.explain(result.best_model())}")

    seeds = range(arguments.seed + 1, arguments.seed + 1 + arguments.refits)
    table = on_the_test_split(result, hypermodel, (x, y), load_split("test"), seeds)
    print(f"\nOn the test split, means of {arguments.refits} trainings with fresh seeds:\n")
    print(table.to_string())


if __name__ == "__main__":
    main()
