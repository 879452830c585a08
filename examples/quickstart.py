"""Which recurrent dropout for the handwritten digits? A search of 20 trials, on the CPU.

The digits that ship with scikit-learn, read row by row: sequences of 8 steps with 8 features, 10
classes. Only 300 of them are trained on, so that the model overfits and dropout has something to do.

Takes one to three minutes on 2 CPU cores. Run it with

    python examples/quickstart.py

It ends with the table of trials, the best configuration, its gain over the same settings without dropout,
and the command that opens the MLflow UI on it.
"""

import argparse
import os

# TensorFlow looks for a GPU and reports on it at length; set it to 0 to see that.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import recdrop_tune as rdt


def load_data(train_samples: int):
    """Returns `(x, y)` twice: x of shape (samples, 8, 8) in [0, 1], y the digit."""
    digits = load_digits()
    x = digits.images.astype("float32") / 16.0
    x_train, x_val, y_train, y_val = train_test_split(
        x, digits.target, train_size=train_samples, stratify=digits.target, random_state=0
    )
    return (x_train, y_train), (x_val, y_val)


def main():
    """Searches and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--train-samples", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    train, validation = load_data(arguments.train_samples)
    result = rdt.tune(
        train,
        validation,
        space="quick",
        objective="val_loss",
        max_trials=arguments.trials,
        epochs=arguments.epochs,
        tracking="digits",
        seed=arguments.seed,
    )
    print(result.summary())


if __name__ == "__main__":
    main()
