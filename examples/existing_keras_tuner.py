"""An existing Keras Tuner search, and the three lines that make it search for the recurrent dropout too.

The script is a usual one: a build function, `keras_tuner.RandomSearch`, `tuner.search`. The lines that
this package adds are marked with (1) to (3): the recurrent layer is wrapped as the trial says, and the
trials are recorded in MLflow. The rest is stock Keras Tuner, and its other tuners work the same.

The data are waves of two frequencies under noise: sequences of 30 steps with one feature, 2 classes.

Takes about 1 minute on 2 CPU cores. Run it with

    python examples/existing_keras_tuner.py

It ends with the best loss, its hyperparameters and the command that opens the MLflow UI.
"""

import argparse
import os

# TensorFlow looks for a GPU and reports on it at length; set it to 0 to see that.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner as kt
import numpy as np

import recdrop_tune as rdt  # (1)


def load_data(samples: int, seed: int):
    """Returns x of shape (samples, 30, 1) and y, which of two frequencies a wave has."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, samples)
    phase = random.uniform(0, 2 * np.pi, (samples, 1))
    waves = np.sin(phase + np.arange(30) * np.where(y == 0, 0.5, 0.8)[:, None])
    return (waves + random.normal(0, 1, waves.shape))[..., None].astype("float32"), y


def build(hp):
    """Builds the model of a trial."""
    inputs = keras.Input((30, 1))
    layer = keras.layers.LSTM(hp.Int("units", 8, 32, step=8))
    layer = rdt.dropout_rnn(hp, layer)  # (2)
    outputs = keras.layers.Dense(2, activation="softmax")(layer(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.Adam(hp.Float("learning_rate", 3e-3, 3e-2, sampling="log")),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main():
    """Searches and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()

    keras.utils.set_random_seed(1)  # The tuner's own seed is that of its proposals.
    tuner = kt.RandomSearch(
        build,
        objective="val_loss",
        max_trials=arguments.trials,
        seed=1,
        directory="keras_tuner_runs",
        project_name="waves",
        overwrite=True,
    )
    tracking = rdt.track(tuner, "waves")  # (3)
    tuner.search(
        *load_data(300, seed=0),
        validation_data=load_data(300, seed=1),
        epochs=arguments.epochs,
        verbose=0,
    )
    best = tuner.oracle.get_best_trials()[0]
    print(f"Best val_loss: {best.score:.4f}, with {best.hyperparameters.values}")
    print(f"Browse the trials: mlflow ui --backend-store-uri {tracking.tracking_uri}")


if __name__ == "__main__":
    main()
