"""Tests for the tuners of `tune` by name, and the directions of metrics."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.oracle import as_objective
from tests.small_search import pretend_to_train, tuned


class Made(kt.HyperModel):
    """A small conditional space whose scores are made up."""

    def build(self, hp):
        wrapper = hp.Choice("wrapper", ["none", "recurrent"])
        with hp.conditional_scope("wrapper", ["recurrent"]):
            if wrapper == "recurrent":
                hp.Float("rate", 0.1, 0.5, step=0.2)
        hp.Choice("units", [8, 16])
        model = keras.Sequential(
            [keras.Input((5, 3)), keras.layers.Flatten(), keras.layers.Dense(1)]
        )
        model.compile(loss="mse")
        return model

    def fit(self, hp, model, *args, callbacks=(), epochs=1, **kwargs):
        end = hp["units"] / 100 + abs(hp.get("rate") - 0.3 if hp["wrapper"] != "none" else 0.5)
        losses = [end + 1 / (epoch + 1) for epoch in range(epochs)]
        return pretend_to_train(model, callbacks, losses)


@pytest.mark.heavy
@pytest.mark.parametrize("tuner", ["optuna", "grid", "hyperband"])
def test_every_tuner_tries_a_small_space_once_and_ends(tmp_path, tuner):
    options = {"tuner": tuner, "epochs": 3, "timeout": 1e3}
    tuned(tmp_path / "p", None, Made(), max_trials=3, **options)
    result = tuned(tmp_path / "p", None, Made(), max_trials=20, **options)
    frame = result.trials
    assert len(frame) == 8 == len(frame[["wrapper", "units", "rate"]].drop_duplicates())
    states = set(frame["state"])
    assert states == ({"COMPLETE", "PRUNED"} if tuner == "hyperband" else {"COMPLETE"})
    best = frame[frame["state"] == "COMPLETE"].sort_values("val_loss").iloc[0]
    assert (best["wrapper"], best["rate"], best["units"]) == ("recurrent", 0.3, 8)
    assert result.tuner.oracle.timeout == 1e3
    words = "exhausted after 8 of at most 20 trials: all 8 configurations were tried."
    assert words in result.summary()


# Whether more is better is seen from a prediction that is right and one that is wrong.
@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        (keras.metrics.F1Score(threshold=0.5), "max"),
        (keras.metrics.R2Score(), "max"),
        (keras.metrics.ConcordanceCorrelation(), "max"),
        (keras.metrics.CosineSimilarity(), "max"),
        (keras.metrics.BinaryIoU(), "max"),
        (keras.metrics.PrecisionAtRecall(0.5), "max"),
        (keras.metrics.MeanSquaredError(), "min"),
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
    with_output = f"val_my_{metric.name}"
    with pytest.raises(InvalidArgumentError, match="known direction"):
        as_objective(with_output)
    assert as_objective(with_output, ["other_loss", "my_loss", with_output]).direction == direction
