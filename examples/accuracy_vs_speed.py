"""What does a lower loss cost in time? A search with two objectives, and its Pareto front.

The handwritten digits that ship with scikit-learn, read row by row: sequences of 8 steps with 8 features,
10 classes; 300 of them are training data.

The model is one LSTM. The search varies its units and the dropout: which, where, how much. It minimizes the
validation loss and the time of a training step, so there is no single best trial but a Pareto front: the
trials that no other trial beats in both.

Takes about 4 minutes on 2 CPU cores. Run it with

    python examples/accuracy_vs_speed.py

It prints the front as a table, the fastest step first, and saves its plot in `accuracy_vs_speed.html`. The
milliseconds depend on your machine and its load.
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

PLOT = "accuracy_vs_speed.html"


def load_data(train_samples: int):
    """Returns `(x, y)` twice: x of shape (samples, 8, 8) in [0, 1], y the digit."""
    digits = load_digits()
    x = digits.images.astype("float32") / 16.0
    x_train, x_val, y_train, y_val = train_test_split(
        x, digits.target, train_size=train_samples, stratify=digits.target, random_state=0
    )
    return (x_train, y_train), (x_val, y_val)


def undominated(loss, time):
    """Returns for each trial whether no other is as good in both and better in one."""
    return [
        not ((loss <= a) & (time <= b) & ((loss < a) | (time < b))).any()
        for a, b in zip(loss, time, strict=True)
    ]


def front_of(result):
    """Returns the front, the fastest first, and whether the time of a step is to be trusted.

    The objective is the time in the trial's best epoch, of a few steps. `median_ms` is the median over all
    of its epochs, and `in_both` says whether the trial is on the front of that too.
    """
    median = result.history.groupby("trial_id")["ms_per_step"].median().rename("median_ms")
    trials = result.trials[result.trials["state"] == "COMPLETE"].merge(median, on="trial_id")
    trials["in_both"] = undominated(trials["val_loss"], trials["median_ms"])
    front = trials[trials["trial_id"].isin(result.pareto["trial_id"])].sort_values("ms_per_step")
    shown = ["number", "units", "wrapper", "placement", "rate"]
    shown += ["val_accuracy", "val_loss", "ms_per_step", "median_ms", "in_both"]
    front = front[shown].astype(object)
    return front.where(front.notna(), "-")  # no dropout has neither a placement nor a rate


def main():
    """Searches, prints the front and draws it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--train-samples", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    train, validation = load_data(arguments.train_samples)
    result = rdt.tune(
        train,
        validation,
        space=SPACE,
        objective=["val_loss", "ms_per_step"],
        max_trials=arguments.trials,
        epochs=arguments.epochs,
        tracking="accuracy_vs_speed",
        seed=arguments.seed,
    )
    front = front_of(result)
    print(result.summary(top=5))
    print(f"\nThe Pareto front, {len(front)} of {len(result.trials)} trials:\n")
    print(front.to_string(index=False, float_format="{:.3f}".format))
    result.plots()["pareto"].write_html(PLOT)
    print(f"\nIts plot: {PLOT}")


if __name__ == "__main__":
    main()
