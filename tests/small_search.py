"""Data and models so small that a trial takes half a second."""

import keras
import keras_tuner as kt
import numpy as np

import recdrop_tune as rdt


def data(samples: int = 24):
    """Sequences of shape `(samples, 5, 3)` and whether their sum is positive."""
    x = np.random.default_rng(0).normal(size=(samples, 5, 3)).astype("float32")
    return x, (x.sum((1, 2)) > 0).astype("int64")


class Batches(keras.utils.PyDataset):
    """The data in two batches."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        x, y = data(16)
        return x[index * 8 :][:8], y[index * 8 :][:8]


def dropout_of(hp):
    """Asks for hyperparameters like a dropout search's; returns the rate."""
    wrapper = hp.Choice("wrapper", ["none", "recurrent", "lambda"])
    with hp.conditional_scope("wrapper", ["recurrent", "lambda"]):
        hp.Choice("placement", ["input", "input+output"])
        rate = hp.Float("rate", 0.1, 0.5, step=0.1)
    return 0.0 if wrapper == "none" else rate


def build(hp):
    """A model without a recurrent layer.

    It runs eagerly: a graph would take longer to trace than such a training takes.
    """
    rate = dropout_of(hp)
    model = keras.Sequential(
        [
            keras.Input((5, 3)),
            keras.layers.Flatten(),
            keras.layers.Dropout(rate),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return model


class Failing(kt.HyperModel):
    """A hypermodel whose trials with the wrapper `lambda` (or all of them) fail."""

    def __init__(
        self, wrappers=("lambda",), error=ValueError, text="the loss went to the moon\nand back"
    ):
        super().__init__()
        self.wrappers = wrappers
        self.error = error
        self.text = text

    def build(self, hp):
        return build(hp)

    def fit(self, hp, model, *args, **kwargs):
        history = model.fit(*args, **kwargs)
        if hp["wrapper"] in self.wrappers:
            raise self.error(self.text)
        return history


class Curves(kt.HyperModel):
    """Reports given values of the objective, an epoch each, in place of what was trained.

    Args:
        *curves: The values of each training; `None` for an epoch that is not validated.
        metric: The objective.
    """

    def __init__(self, *curves, metric="val_loss"):
        super().__init__()
        self.curves = list(curves)
        self.metric = metric
        self.epochs = []

    def build(self, hp):
        hp.Float("x", 0.0, 1.0)
        return build(hp)

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        curve, metric = self.curves.pop(0), self.metric

        class Told(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                if curve[epoch] is None:
                    logs.pop(metric, None)
                else:
                    logs[metric] = curve[epoch]

        kwargs["epochs"] = len(curve)
        history = model.fit(*args, callbacks=[Told(), *callbacks], **kwargs)
        self.epochs.append(len(history.epoch))
        return history


def pretend_to_train(model, callbacks, losses):
    """Reports an epoch to the callbacks for each value of `val_loss`; returns the history."""
    history = keras.callbacks.History()
    told = keras.callbacks.CallbackList([history, *callbacks], model=model)
    told.on_train_begin()
    for epoch, loss in enumerate(losses):
        told.on_epoch_begin(epoch)
        told.on_epoch_end(epoch, {"loss": 1.0, "val_loss": loss})
        if model.stop_training:
            break
    told.on_train_end()
    return history


def contents(folder):
    """Reads the files below a folder; its folders have `None`."""
    return {each: each.read_bytes() if each.is_file() else None for each in folder.rglob("*")}


def tuned(directory, tracking, model=build, **options):
    """Runs a search of two trials of an epoch by `tune`, unless the options say otherwise."""
    usual = {"max_trials": 2, "epochs": 1, "seed": 0, "verbose": 0}
    usual |= {"train": data(), "validation": data()}
    return rdt.tune(model=model, directory=directory, tracking=tracking, **usual | options)
