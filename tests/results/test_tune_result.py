"""The frame of trials: types, names, failures, and what it does not need."""

import re

import keras
import numpy as np
import pytest

from recdrop_tune.errors import RecdropError
from recdrop_tune.hypermodels import dropout_rnn
from recdrop_tune.oracle import OptunaOracle
from tests.planted_search import Planted, description, page, planted_result
from tests.small_search import Failing, tuned


def test_one_typed_row_a_trial(planted):
    frame = planted.trials
    assert len(frame) == 30
    expected = {
        **dict.fromkeys(("trial_id", "state", "wrapper", "placement", "mlflow_run_id"), "string"),
        **dict.fromkeys(("number", "units", "best_epoch", "epochs", "n_params"), "Int64"),
        **dict.fromkeys(("rate", "learning_rate", "val_loss", "loss", "seconds"), "Float64"),
    }
    assert {name: str(frame[name].dtype) for name in expected} == expected
    complete = frame["state"] == "COMPLETE"
    assert complete.sort_values(ascending=False, kind="stable").equals(complete)
    assert frame["val_loss"][complete].is_monotonic_increasing
    assert list(frame["epochs"][complete]) == [3] * complete.sum()
    without = frame["wrapper"] == "none"
    assert without.any()
    assert frame[without][["placement", "rate"]].isna().all(axis=None)
    assert frame[~without][["placement", "rate"]].notna().all(axis=None)


def build_named(hp):
    space = {"wrapper": ["none", "recurrent"], "placement": "recurrent", "rate": [0.2, 0.4]}
    inputs = keras.Input((5, 3))
    encoder = keras.layers.GRU(2, return_sequences=True)
    x = dropout_rnn(hp, encoder, name="enc", space=space)(inputs)
    x = dropout_rnn(hp, keras.layers.GRU(2), name="dec", space=space)(x)
    outputs = keras.layers.Dense(2, activation="softmax")(x)
    model = keras.Model(inputs, outputs)
    rate = hp.Choice("loss", [0.1, 0.01])
    hp.Choice("state", ["COMPLETE", "b"])
    hp.Int("epochs", 7, 9)
    model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
    return model


@pytest.fixture(scope="module")
def named(tmp_path_factory, running_eagerly):
    with running_eagerly():
        return tuned(tmp_path_factory.mktemp("named"), None, build_named, max_trials=5, seed=1)


@pytest.mark.heavy
def test_gain_where_each_layer_has_a_dropout_of_its_own(named):
    frame = named.trials
    wrappers = frame[["enc/wrapper", "dec/wrapper"]] == "none"
    assert (wrappers.any(axis=1) & ~wrappers.all(axis=1)).any()
    assert named.twin_gain is not None
    assert "not known" not in named.summary()
    assert set(named.wrappers["layer"]) == {"enc", "dec"}


@pytest.mark.heavy
def test_hyperparameters_named_like_columns(named):
    frame = named.trials
    assert set(frame["state"]) == {"COMPLETE"}
    assert set(frame["epochs"]) == {1}
    assert set(frame["hp/epochs"]) <= {7, 8, 9}
    assert set(frame["hp/state"]) <= {"COMPLETE", "b"}
    assert set(frame["hp/loss"]) <= {0.1, 0.01}
    assert not set(frame["loss"]) & {0.1, 0.01}
    assert frame.columns.is_unique
    assert str(frame["hp/state"].dtype) == "string"
    assert "\n5 trials, 5 complete." in named.summary()
    assert named.best_hyperparameters["state"] == frame["hp/state"][0]


@pytest.mark.heavy
def test_failed_trials_are_rows_too(tmp_path):
    given = tmp_path / "p", None, Failing(("lambda", "recurrent"))
    result = tuned(*given, max_trials=3, seed=3)
    frame = result.trials
    assert list(frame["state"]) == ["COMPLETE", "FAILED", "FAILED"]
    assert frame["val_loss"].isna().tolist() == [False, True, True]
    assert "no trial with dropout was completed" in result.summary()
    assert np.isfinite(frame["seconds"].astype(float)).all()
    with pytest.raises(RecdropError, match="its trials failed; 1 were completed before"):
        tuned(*given, max_trials=9, seed=3)


class Exploded(Planted):
    def metrics(self, hp, epoch):
        return {name: 1e30 * value for name, value in super().metrics(hp, epoch).items()}


def test_large_scores_have_an_exponent_everywhere(tmp_path):
    oracle = OptunaOracle("val_loss", 4, seed=0, try_first=[{"wrapper": "none"}])
    result = planted_result(oracle, tmp_path, hypermodel=Exploded(failing=None))
    for text in (result.summary(), description(result), page(result)):
        assert "e+29" in text
        assert not re.search(r"\d{20}\.", text)
