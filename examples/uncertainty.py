"""Can a model detect unfamiliar inputs? Dropout at inference, on digits that are turned or noisy.

The handwritten digits that ship with scikit-learn, read row by row: sequences of 8 steps with 8 features,
10 classes; 600 to train on, 1197 to test: as they are, turned by up to 90 degrees, and with noise. The
training data are neither turned nor noisy.

The model is one LSTM of 64 units with variational dropout, which draws one mask for all steps.
`mc_predict` keeps it on at inference: it predicts 50 times with different masks (Gal and Ghahramani 2016,
arXiv 1506.02142). The mean is the prediction, and the disagreement of the 50 shows how far to trust it.

Takes about 20 seconds on 2 CPU cores. Run it with

    python examples/uncertainty.py

It prints two tables: the uncertainty of the model on each kind of digit, and the calibration of the mean of
the 50 and of the usual prediction without dropout. Confidence is the mean probability of the most likely
class.
"""

import argparse
import os

# TensorFlow looks for a GPU and reports on it at length; set it to 0 to see that.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
from scipy.ndimage import rotate
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import recdrop_tune as rdt
from recdrop_tune.wrappers import VariationalDropoutWrapper


def load_data(train_samples: int):
    """Returns `(x, y)` twice: x of shape (samples, 8, 8) in [0, 1], y the digit."""
    digits = load_digits()
    x = digits.images.astype("float32") / 16.0
    x_train, x_test, y_train, y_test = train_test_split(
        x, digits.target, train_size=train_samples, stratify=digits.target, random_state=0
    )
    return (x_train, y_train), (x_test, y_test)


def corrupted(x, seed: int):
    """Returns the digits as they are, turned, and noisy, by the name of what was done."""
    noise = np.random.default_rng(seed).normal(size=x.shape).astype("float32")
    turned = {
        f"turned by {angle}": rotate(x, angle, axes=(1, 2), reshape=False, order=1)
        for angle in (30, 60, 90)
    }
    noisy = {f"noise of {level}": np.clip(x + level * noise, 0, 1) for level in (0.2, 0.5)}
    return {"as they are": x, **turned, **noisy}


def trained(train, rate: float, epochs: int):
    """Returns the classifier."""
    inputs = keras.Input((8, 8))
    hidden = VariationalDropoutWrapper(
        keras.layers.LSTM(64), rate=rate, placement="input+recurrent+output"
    )(inputs)
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(hidden))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(*train, epochs=epochs, batch_size=32, verbose=0)
    return model


def entropy(p):
    """Returns the entropy of probabilities, in nats: 0 if one is 1, log(10) if ten are the same."""
    return -keras.ops.sum(p * keras.ops.log(p + 1e-12), axis=-1)


def monte_carlo(model, x, passes: int, seed: int):
    """Returns the mean probabilities, their entropy, and the mutual information.

    The entropy of the mean is the whole uncertainty. The mean of the entropies is the part that each
    of the predictions has by itself. The rest, the mutual information, is their disagreement.
    """
    # `mc_predict` averages all outputs of a model: here the probabilities and the entropy.
    both = keras.Model(model.input, {"p": model.output, "entropy": entropy(model.output)})
    mean = rdt.mc_predict(both, x, passes=passes, seed=seed, batch_size=256).mean
    whole = np.asarray(entropy(mean["p"]))
    return mean["p"], whole, whole - mean["entropy"]


def accuracy(y, p):
    """Returns how many of the likeliest classes are right."""
    return (p.argmax(axis=-1) == y).mean()


def cross_entropy(y, p):
    """Returns the log-loss: what a confident mistake costs most."""
    return log_loss(y, p, labels=range(10))


def calibration_error(y, p, bins: int = 10):
    """Returns the expected calibration error: how far accuracy is from confidence, over bins of it."""
    confidence, right = p.max(axis=-1), p.argmax(axis=-1) == y
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [(right - confidence)[bin_of == number].sum() for number in range(bins)]
    return np.abs(gaps).sum() / len(y)


MEASURES = {
    "accuracy": accuracy,
    "log-loss": cross_entropy,
    "calibration error": calibration_error,
}


def table(rows: dict):
    """Writes a row for each kind of digits."""
    return pd.DataFrame.from_dict(rows, orient="index").to_string(float_format="%.3f")


def main():
    """Trains, predicts both ways, and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--passes", type=int, default=50)
    parser.add_argument("--train-samples", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    keras.utils.set_random_seed(arguments.seed)
    train, (x_test, y) = load_data(arguments.train_samples)
    model = trained(train, arguments.rate, arguments.epochs)

    uncertain, compared = {}, {}
    for digits, x in corrupted(x_test, arguments.seed).items():
        plain = model.predict(x, batch_size=256, verbose=0)
        mean, whole, disagreement = monte_carlo(model, x, arguments.passes, arguments.seed)
        uncertain[digits] = {
            "accuracy": accuracy(y, mean),
            "confidence": mean.max(axis=-1).mean(),
            "entropy": whole.mean(),
            "mutual information": disagreement.mean(),
            "entropy, plain": np.mean(entropy(plain)),
        }
        compared[digits] = {
            (name, kind): measure(y, p)
            for name, measure in MEASURES.items()
            for kind, p in (("plain", plain), ("MC", mean))
        }
    print("How uncertain the mean of the predictions with dropout is:\n")
    print(table(uncertain))
    print("\nPredictions without dropout (plain), and the mean of those with it (MC):\n")
    print(table(compared))


if __name__ == "__main__":
    main()
