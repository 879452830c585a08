"""What does a higher accuracy cost in time? The Pareto front of a search.

The handwritten digits that ship with scikit-learn, read row by row: sequences of 8 steps with 8 features,
10 classes; 300 of them are training data.

The model is one LSTM. The search varies its units and the dropout: which, where, how much. Its trials are
drawn at random, so that every size is tried. Afterwards, accuracy and the time of a training step are
compared: the Pareto front has the trials that no other trial beats in both.

Takes about 4 minutes on 2 CPU cores. Run it with

    python examples/accuracy_vs_speed.py

It prints the front as a table, the fastest step first. The milliseconds depend on your machine and its load.
"""

import argparse
import os

# TensorFlow looks for a GPU and reports on it at length; set it to 0 to see that.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import recdrop_tune as rdt

SPACE = {
    "cell": "lstm",
    "units": [8, 16, 32, 64, 128, 256],
    "wrapper": ["none", "native", "recurrent", "variational", "time_distributed"],
    "placement": ["input", "recurrent", "input+recurrent"],  # where the wrapper has it
    "rate": {"min": 0.1, "max": 0.5, "step": 0.1},
    "learning_rate": 0.005,
}

METRICS = "val_accuracy", "ms_per_step"


def load_data(train_samples: int):
    """Returns `(x, y)` twice: x of shape (samples, 8, 8) in [0, 1], y the digit."""
    digits = load_digits()
    x = digits.images.astype("float32") / 16.0
    x_train, x_val, y_train, y_val = train_test_split(
        x, digits.target, train_size=train_samples, stratify=digits.target, random_state=0
    )
    return (x_train, y_train), (x_val, y_val)


def search(train, validation, trials, epochs, seed):
    """Searches for the highest accuracy."""
    return rdt.tune(
        train,
        validation,
        space=SPACE,
        objective="val_accuracy",
        tuner="random",
        max_trials=trials,
        epochs=epochs,
        tracking="accuracy_vs_speed",
        seed=seed,
    )


def front_of(result):
    """Returns the front, the fastest first."""
    front = result.pareto_front(*METRICS).sort_values("ms_per_step")
    shown = ["number", "units", "wrapper", "placement", "rate", "val_loss", *METRICS]
    front = front[shown].astype(object)
    return front.where(front.notna(), "-")  # no dropout has neither a placement nor a rate


def main():
    """Searches and prints the front."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--train-samples", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    train, validation = load_data(arguments.train_samples)
    result = search(train, validation, arguments.trials, arguments.epochs, arguments.seed)
    front = front_of(result)
    print(result.summary(top=5))
    print(f"\nThe Pareto front, {len(front)} of {len(result.trials)} trials:\n")
    print(front.to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
