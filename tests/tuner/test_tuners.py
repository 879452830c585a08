"""Tests for `recdrop_tune.tuner.tuners`: the tuners by name, and the directions of metrics."""

import time

import keras
import keras_tuner as kt
import numpy as np
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.tuner import TUNERS, as_objective
from tests.small_search import data


class Made(kt.HyperModel):
    """A small conditional space whose scores are made up."""

    seconds = 0.0

    def build(self, hp):
        wrapper = hp.Choice("wrapper", ["none", "recurrent"])
        with hp.conditional_scope("wrapper", ["recurrent"]):
            if wrapper == "recurrent":
                hp.Float("rate", 0.1, 0.5, step=0.1)
        hp.Choice("units", [8, 16])
        model = keras.Sequential(
            [keras.Input((5, 3)), keras.layers.Flatten(), keras.layers.Dense(1)]
        )
        model.compile(loss="mse")
        return model

    def fit(self, hp, model, *args, callbacks=(), epochs=1, **kwargs):
        time.sleep(self.seconds)
        end = hp["units"] / 100 + abs(hp.get("rate") - 0.3 if hp["wrapper"] != "none" else 0.5)
        history = keras.callbacks.History()
        told = keras.callbacks.CallbackList([history, *callbacks], model=model)
        told.on_train_begin()
        for epoch in range(epochs):
            told.on_epoch_begin(epoch)
            told.on_epoch_end(epoch, {"loss": 1.0, "val_loss": end + 1 / (epoch + 1)})
            if model.stop_training:
                break
        return history


def search(folder, tuner, model=None, **more):
    options = {"max_trials": 20, "epochs": 9, "seed": 0, "verbose": 0, **more}
    options["tracking"] = rdt.MLflow(uri=f"sqlite:///{folder}/mlflow.db")
    model = model or Made()
    return rdt.tune(data(8), data(8), model, tuner=tuner, directory=folder / "p", **options)


@pytest.mark.parametrize("tuner", TUNERS)
def test_every_tuner_tries_a_small_space_once_and_ends(tmp_path, tuner):
    search(tmp_path, tuner, max_trials=3)
    frame = search(tmp_path, tuner).trials
    assert len(frame) == 12 == len(frame[["wrapper", "units", "rate"]].drop_duplicates())
    states = set(frame["state"])
    assert states == ({"COMPLETE", "PRUNED"} if tuner == "hyperband" else {"COMPLETE"})
    best = frame[frame["state"] == "COMPLETE"].sort_values("val_loss").iloc[0]
    assert (best["wrapper"], best["rate"], best["units"]) == ("recurrent", 0.3, 8)


def test_hyperband_is_reproducible(tmp_path):
    """Optuna assigns brackets by the name of the study."""
    columns = ["wrapper", "units", "rate", "state", "epochs"]
    first, second = (search(tmp_path / name, "hyperband").trials[columns] for name in "ab")
    assert first.equals(second)


def test_a_grid_needs_steps(tmp_path):
    class Range(Made):
        def build(self, hp):
            hp.Float("learning_rate", 1e-4, 1e-2, sampling="log")
            return super().build(hp)

    with pytest.raises(InvalidArgumentError, match=r"needs a `step`.*learning_rate"):
        search(tmp_path, "grid", Range())


def test_no_trial_begins_after_the_timeout_but_the_twin(tmp_path):
    model = Made()
    model.seconds = 0.3
    frame = search(tmp_path, "random", model, timeout=0.8).trials
    # Three fit into the time.
    assert 1 <= len(frame) <= 4
    assert set(frame["state"]) == {"COMPLETE"}
    assert (frame["wrapper"] == "none").any()
    # The time is that of a session.
    assert len(search(tmp_path, "random", model, max_trials=7).trials) == 7


# Whether more is better is seen from a prediction that is right and one that is wrong.
@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        (keras.metrics.F1Score(threshold=0.5), "max"),
        (keras.metrics.FBetaScore(threshold=0.5), "max"),
        (keras.metrics.R2Score(), "max"),
        (keras.metrics.PearsonCorrelation(), "max"),
        (keras.metrics.ConcordanceCorrelation(), "max"),
        (keras.metrics.CosineSimilarity(), "max"),
        (keras.metrics.BinaryIoU(), "max"),
        (keras.metrics.PrecisionAtRecall(0.5), "max"),
        (keras.metrics.SensitivityAtSpecificity(0.5), "max"),
        (keras.metrics.AUC(), "max"),
        (keras.metrics.MeanSquaredError(), "min"),
        (keras.metrics.BinaryCrossentropy(), "min"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_directions_of_metrics(metric, direction):
    truth = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], "float32")
    scores = []
    for prediction in (0.8 * truth + 0.1, 0.9 - 0.8 * truth):
        metric.reset_state()
        metric.update_state(truth, prediction.astype("float32"))
        scores.append(float(np.mean(metric.result())))
    assert (scores[0] > scores[1]) == (direction == "max")
    assert as_objective(f"val_{metric.name}").direction == direction
