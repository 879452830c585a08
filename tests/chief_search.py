"""Runs the chief and the workers of `test_chief_workers`; see `tests.forks`. An order has:

- `environment`: what makes a process the chief or a worker
- `folder`: the project folder, which all of them share
- `hangs`: whether it stops for ever in the middle of its first trial, and writes a file to say so
"""

import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner as kt
import optuna

import recdrop_tune as rdt
from tests.forks import serve
from tests.small_search import build, data

WORST = 0.25
"""A trial whose objective is above is pruned after its second epoch."""

EPOCHS = 6
"""Those of a trial: more than two are left after the second, or nothing would be pruned."""


class Told(keras.callbacks.Callback):
    """Makes the objective up, so that the pruned trials are known; hangs if it gets a file as its sign."""

    def __init__(self, loss: float, sign: Path | None):
        super().__init__()
        self.loss = loss
        self.sign = sign

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = self.loss + 0.001 * (EPOCHS - 1 - epoch)
        if self.sign is not None and epoch == 1:
            self.sign.touch()
            time.sleep(600)


class MadeUpCurves(kt.HyperModel):
    """The small model, trained, with an objective that depends on its hyperparameters alone."""

    def __init__(self, order: dict):
        super().__init__()
        self.order = order

    def build(self, hp):
        return build(hp)

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        sign = Path(
            self.order["folder"], f"{self.order['environment']['KERASTUNER_TUNER_ID']}.hangs"
        )
        told = Told(loss_of(hp.values), sign if self.order["hangs"] else None)
        return model.fit(*args, callbacks=[told, *callbacks], **kwargs)


def loss_of(values: dict) -> float:
    """The objective after the last epoch."""
    return abs(values.get("rate", 0.6) - 0.3)


def take_part(order: dict) -> None:
    """Is the chief, or a worker."""
    os.environ.update(order["environment"])
    folder = Path(order["folder"])
    oracle = rdt.OptunaOracle(
        "val_loss",
        max_trials=10,
        seed=0,
        sampler="tpe",  # The default one soon proposes nothing that would be pruned.
        worker_timeout=15.0,
        pruner=optuna.pruners.ThresholdPruner(upper=WORST, n_warmup_steps=1),
    )
    tuner = rdt.Tuner(
        oracle, MadeUpCurves(order), seed=0, directory=folder.parent, project_name=folder.name
    )
    rdt.track(tuner, rdt.MLflow("team", uri=f"sqlite:///{folder.parent}/mlflow.db"))
    x, y = data()
    tuner.search(x, y, validation_data=(x, y), epochs=EPOCHS, verbose=0)


if __name__ == "__main__":
    serve(take_part)
