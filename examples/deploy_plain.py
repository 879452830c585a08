"""How to deploy the best model of a search where this package is not installed? As stock Keras layers.

A small search on the handwritten digits that ship with scikit-learn, read row by row: sequences of 8 steps
with 8 features, 10 classes. The model is an LSTM of 32 units. `to_plain` turns the best one into a model of
stock Keras layers with the same weights, for dropout does nothing outside training. It is saved twice: as a
`.keras` file, and exported as a SavedModel, which TensorFlow Serving takes. Then a second process, which
cannot import this package, loads both and predicts.

Takes about 1 minute on 2 CPU cores. Run it with

    python examples/deploy_plain.py

It leaves both in the folder `deployed`, and ends with the largest difference between the predictions of that
process and those of the model as the search had it.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

# TensorFlow looks for a GPU and reports on it at length; set it to 0 to see that.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import recdrop_tune as rdt

SERVER = """
import sys

class NotHere:  # this package is not installed where the model is deployed
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "recdrop_tune":
            raise ImportError("recdrop_tune is not here")

sys.meta_path.insert(0, NotHere())

import keras
import numpy as np
import tensorflow as tf

x = np.load("x.npy")
model = keras.models.load_model("model.keras")
saved_model = tf.saved_model.load("saved_model")
print("Layers of model.keras:", ", ".join(type(layer).__name__ for layer in model.layers))
np.savez("predictions.npz", keras=model.predict(x, verbose=0), saved_model=saved_model.serve(x))
assert "recdrop_tune" not in sys.modules
"""
"""What runs where the model is deployed: Keras, TensorFlow and NumPy are all that it imports."""


def load_data(train_samples):
    """Returns `(x, y)` twice: x of shape (samples, 8, 8) in [0, 1], y the digit."""
    digits = load_digits()
    x = digits.images.astype("float32") / 16.0
    x_train, x_val, y_train, y_val = train_test_split(
        x, digits.target, train_size=train_samples, stratify=digits.target, random_state=0
    )
    return (x_train, y_train), (x_val, y_val)


def deploy(model, folder):
    """Writes a model in stock Keras layers, in both formats."""
    plain = rdt.to_plain(model)
    folder.mkdir(parents=True, exist_ok=True)
    plain.save(folder / "model.keras")
    plain.export(folder / "saved_model", verbose=False)


def main():
    """Searches, deploys, and compares the predictions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--train-samples", type=int, default=300)
    parser.add_argument("--folder", type=Path, default=Path("deployed"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    train, validation = load_data(arguments.train_samples)
    space = {
        "units": 32,
        "wrapper": ["recurrent", "variational", "time_distributed"],  # none: a dropout to take out
        "rate": {"min": 0.1, "max": 0.5, "step": 0.1},
        "learning_rate": 3.0e-3,
    }
    result = rdt.tune(
        train,
        validation,
        space=space,
        max_trials=arguments.trials,
        epochs=arguments.epochs,
        tracking="deploy-plain",
        seed=arguments.seed,
    )
    print(result.summary())

    model, x = result.best_model(), validation[0]
    expected = model.predict(x, verbose=0)
    deploy(model, arguments.folder)
    np.save(arguments.folder / "x.npy", x)
    names = ", ".join(type(layer).__name__ for layer in model.layers)
    print(f"\nLayers of the best model: {names}", flush=True)
    subprocess.run([sys.executable, "-I", "-c", SERVER], cwd=arguments.folder, check=True)
    with np.load(arguments.folder / "predictions.npz") as predictions:
        for name in ("keras", "saved_model"):
            difference = np.abs(predictions[name] - expected).max()
            print(f"Largest difference of a probability, {name}: {difference:.2g}")


if __name__ == "__main__":
    main()
