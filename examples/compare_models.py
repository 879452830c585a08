"""Does dropout help this model? Three models, trained again and again with the same fresh seeds.

The handwritten digits that ship with scikit-learn, read row by row: sequences of 8 steps with 8 features,
10 classes; 300 of them are training data.

The models are one LSTM of 64 units each: without dropout; with Keras's own `recurrent_dropout`, which leaves
cuDNN; and with this package's dropout at the same place and rate, which stays on it. `compare_models` trains
them with 5, 8, 13 and at most 20 seeds, until it is known how the better of the two dropouts differs from no
dropout.

Takes about 5 minutes on 2 CPU cores. Run it with

    python examples/compare_models.py

It prints the answer and a table with one row for each model, and writes `compare_models.html`.
"""

import argparse
import os

# TensorFlow looks for a GPU and reports on it at length; set it to 0 to see that.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import recdrop_tune as rdt

RATE = 0.3
PAGE = "compare_models.html"


def model(layer):
    """Returns a compiled classifier."""
    layers = [keras.Input((8, 8)), layer, keras.layers.Dense(10, "softmax")]
    classifier = keras.Sequential(layers)
    classifier.compile(
        keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return classifier


def main() -> None:
    """Compares the models and prints the answer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--max-seeds", type=int, default=20)
    parser.add_argument("--train-samples", type=int, default=300)
    arguments = parser.parse_args()
    digits = load_digits()
    x_train, x_val, y_train, y_val = train_test_split(
        digits.images.astype("float32") / 16.0,
        digits.target,
        train_size=arguments.train_samples,
        stratify=digits.target,
        random_state=0,
    )
    keras_own = keras.layers.LSTM(64, recurrent_dropout=RATE)
    # One mask for all steps, as Keras has it; by default there is a new one at each step.
    on_cudnn = rdt.wrap(keras.layers.LSTM(64), "recurrent", rate=RATE, per_step=False)
    answer = rdt.compare_models(
        {
            "plain": model(keras.layers.LSTM(64)),
            "recurrent_dropout": model(keras_own),
            "on cuDNN": model(on_cudnn),
        },
        (x_train, y_train),
        (x_val, y_val),
        epochs=arguments.epochs,
        seeds=arguments.seeds,
        max_seeds=arguments.max_seeds,
        seed=0,
    )
    print(answer.summary())
    print(f"Page: {answer.report(PAGE)}")


if __name__ == "__main__":
    main()
