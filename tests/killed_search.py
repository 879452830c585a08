"""Runs searches for `test_resume` to kill; see `tests.forks`. An order has:

- `kill_at`: before which operation on a file of its folder the search kills itself, or null; whoever has
  its process id may kill it at any other moment
- `trains`: whether it trains its models, or makes their scores up to be quicker
- `slow`: None, or the least seconds of an epoch; each is noted in the file `epochs` of its folder
- `save_every`: seconds between two snapshots of a slow trial
- `tune`: arguments of `tune`
"""

import os
import signal
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner as kt

import recdrop_tune as rdt
import tests.forked_code  # What a search needs, so that not every fork imports it.  # noqa: F401
from recdrop_tune.events import TrackingWarning
from tests.forks import serve
from tests.small_search import build, data, dropout_of

# What changes a file, or is about to.
_OPERATIONS = {"open", "os.rename", "os.remove", "os.symlink", "os.truncate", "os.link"}


def count_operations(folder: str, kill_at: int | None) -> None:
    """Kills this process, as `kill -9` does, at an operation on a file of the folder."""
    count = 0

    def audit(event, arguments):
        nonlocal count
        if event not in _OPERATIONS or not str(arguments[0]).startswith(folder):
            return
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            return
        count += 1
        if kill_at is not None and count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)


class MadeUp(kt.HyperModel):
    """A model that is not trained, and scores made from the hyperparameters of the small one."""

    def build(self, hp):
        dropout_of(hp)
        model = keras.Sequential([keras.Input((5, 3)), keras.layers.Flatten()])
        model.compile("sgd", "mse")
        return model

    def fit(self, hp, model, *args, **kwargs):
        return abs((hp.get("rate") if "rate" in hp else 0.6) - 0.3)


class Slow(keras.callbacks.Callback):
    """Takes its time over each epoch, and notes its number and its end."""

    def __init__(self, seconds: float, notes: Path):
        super().__init__()
        self.seconds, self.notes = seconds, notes

    def on_epoch_end(self, epoch, logs=None):
        time.sleep(self.seconds)
        with self.notes.open("a") as file:
            file.write(f"{epoch} {time.time()}\n")


def build_in_graph(hp):
    """A model whose epochs have an order each, which those that run eagerly do not have."""
    model = build(hp)
    model.compile(keras.optimizers.Adam(0.003), model.loss)
    return model


def search(order: dict) -> None:
    """Runs one search."""
    warnings.simplefilter("error", TrackingWarning)
    given = order["tune"]
    count_operations(str(Path(given["directory"])), order["kill_at"])
    given = {"epochs": 1, "seed": 0, "verbose": 1, **given}
    given["tracking"] = rdt.MLflow(given.pop("experiment"), uri=given.pop("uri"))
    if "confirm" in given:
        given["confirm"] = rdt.Confirm(**given["confirm"])
    model = build if order["trains"] else MadeUp()
    if order["slow"] is not None:
        model, slow = build_in_graph, Slow(order["slow"], Path(given["directory"], "epochs"))
        given["training"] = rdt.Training(callbacks=[slow], save_every=order["save_every"])
    rdt.tune(data(), data(), model, **given)


if __name__ == "__main__":
    serve(search)
