"""Tests for `recdrop_tune.results`, on two real searches."""

import random
import re
import shlex
import shutil

import keras
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import RecdropError
from recdrop_tune.files import JOURNAL
from recdrop_tune.hypermodels import dropout_rnn
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.search import tune
from tests.planted_search import Planted, description, page, planted_result
from tests.small_search import Failing, data

SPACE = {
    "units": 4,
    "wrapper": ["none", "native", "recurrent", "lambda"],
    "rate": {"min": 0.1, "max": 0.5, "step": 0.1},
    "learning_rate": {"min": 1e-3, "max": 1e-1, "log": True},
}


@pytest.fixture(scope="module")
def uri(tmp_path_factory, new_store):
    return new_store(tmp_path_factory.mktemp("mlflow"))


@pytest.fixture(scope="module")
def result(uri, tmp_path_factory, running_eagerly):
    folder = tmp_path_factory.mktemp("search")
    with running_eagerly():
        return tune(
            data(32),
            data(16),
            space=SPACE,
            max_trials=5,
            epochs=2,
            seed=0,
            verbose=0,
            tracking=rdt.MLflow("results", uri=uri),
            directory=folder / "project",
        )


def test_one_typed_row_a_trial(result):
    frame = result.trials
    assert len(frame) == 5
    expected = {
        "trial_id": "string",
        "number": "Int64",
        "state": "string",
        "units": "Int64",
        "wrapper": "string",
        "placement": "string",
        "rate": "Float64",
        "learning_rate": "Float64",
        "val_loss": "Float64",
        "val_accuracy": "Float64",
        "best_epoch": "Int64",
        "epochs": "Int64",
        "seconds": "Float64",
        "n_params": "Int64",
        "mlflow_run_id": "string",
    }
    assert {name: str(frame[name].dtype) for name in expected} == expected
    assert set(frame["state"]) == {"COMPLETE"}
    assert list(frame["epochs"]) == [2] * 5
    assert frame["val_loss"].is_monotonic_increasing
    without = frame["wrapper"] == "none"
    assert without.any()
    assert frame[without][["placement", "rate"]].isna().all(axis=None)
    assert frame[~without][["placement", "rate"]].notna().all(axis=None)


def test_the_last_trial_is_the_twin_of_the_best_with_dropout(result):
    ordered = result.trials.sort_values("number")
    last, earlier = ordered.iloc[-1], ordered.iloc[:-1]
    dropping = earlier[earlier["wrapper"] != "none"]
    best = dropping.loc[dropping["val_loss"].idxmin()]
    assert last["wrapper"] == "none"
    assert last["learning_rate"] == best["learning_rate"]
    gain = result.twin_gain
    assert (gain.trial.trial_id, gain.twin.trial_id) == (best["trial_id"], last["trial_id"])
    assert gain.value == pytest.approx(last["val_loss"] - best["val_loss"])


def test_the_frame_is_what_mlflow_holds(result, uri):
    client = MlflowClient(uri)
    for row in result.trials.itertuples():
        run = client.get_run(row.mlflow_run_id)
        assert run.data.metrics["objective"] == pytest.approx(row.val_loss)
        assert run.data.metrics["best_epoch"] == row.best_epoch
        assert run.data.params["wrapper"] == row.wrapper
        assert run.data.params["placement"] == ("n/a" if pd.isna(row.placement) else row.placement)
        assert run.data.params["rate"] == ("0" if pd.isna(row.rate) else str(row.rate))
        # A page shows the last value: that of the best epoch, whichever it was.
        assert run.data.metrics["val_loss"] == pytest.approx(row.val_loss)
        assert run.data.metrics["val_accuracy"] == pytest.approx(row.val_accuracy)
        curve = client.get_metric_history(row.mlflow_run_id, "val_loss")
        assert [point.step for point in curve] == [0, 1, 2][: 2 + (row.best_epoch == 0)]
        assert curve[row.best_epoch].value == pytest.approx(row.val_loss)
        accuracy = client.get_metric_history(row.mlflow_run_id, "val_accuracy")
        assert accuracy[row.best_epoch].value == pytest.approx(row.val_accuracy)


def test_the_best_trial_and_its_model(result):
    row = result.trials.iloc[0]
    assert result.best_trial.trial_id == row["trial_id"]
    assert result.best_hyperparameters["wrapper"] == row["wrapper"]
    assert None not in result.best_hyperparameters.values()
    assert set(result.best_hyperparameters) <= {*SPACE, "placement"}
    x, y = data(16)
    loss, accuracy = result.best_model().evaluate(x, y, verbose=0)
    assert loss == pytest.approx(row["val_loss"], rel=1e-5)
    assert accuracy == pytest.approx(row["val_accuracy"])


def test_the_best_model_leaves_the_random_state_alone(result):
    drawn = []
    for seed in (5, 6):
        random.seed(seed)
        np.random.seed(seed)
        result.best_model()
        drawn += [random.random(), np.random.random()]
    assert len(set(drawn)) == 4


def test_summary(result):
    text = result.summary(top=3)
    assert f"5 trials, 5 complete. Best val_loss: {result.best_trial.score:.4f}\n" in text
    assert f"wrapper={result.best_hyperparameters['wrapper']}" in text
    gain = result.twin_gain
    assert "Best in the search: trial " in text
    assert f"the same without dropout has {gain.twin_score:.4f}" in text
    assert str(result.directory) in text
    assert result.ui_command in text
    [table] = [part.splitlines() for part in text.split("\n\n") if part.startswith("Best trials")]
    assert len(table) == 5
    assert "units" not in table[1]
    words = shlex.split(result.ui_command)
    assert words[-2:] == ["ui", str(result.directory.resolve())]
    assert result.ui_url.startswith("http://127.0.0.1:5000/#/experiments/")
    assert result.ui_url.endswith("orderByAsc=true")
    assert result.experiment == "results"


def build_named(hp):
    """Two layers with a dropout each, and hyperparameters named like columns."""
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
def named(uri, tmp_path_factory, running_eagerly):
    folder = tmp_path_factory.mktemp("named")
    options = {
        "epochs": 1,
        "seed": 1,
        "verbose": 0,
        "tracking": rdt.MLflow(uri=uri),
        "max_trials": 5,
    }
    with running_eagerly():
        return tune(data(), data(), model=build_named, directory=folder / "p", **options)


@pytest.mark.heavy
def test_gain_where_each_layer_has_a_dropout_of_its_own(named):
    frame = named.trials
    wrappers = frame[["enc/wrapper", "dec/wrapper"]] == "none"
    assert (wrappers.any(axis=1) & ~wrappers.all(axis=1)).any()
    assert named.twin_gain is not None
    assert "not known" not in named.summary()
    assert set(named.wrappers["layer"]) == {"enc", "dec"}


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
def test_failed_trials_are_rows_too(tmp_path, uri):
    def search(max_trials):
        return tune(
            data(),
            data(),
            model=Failing(("lambda", "recurrent")),
            max_trials=max_trials,
            epochs=1,
            seed=3,
            verbose=0,
            directory=tmp_path / "p",
            tracking=rdt.MLflow(uri=uri),
        )

    result = search(3)
    frame = result.trials
    assert list(frame["state"]) == ["COMPLETE", "FAILED", "FAILED"]
    assert frame["val_loss"].isna().tolist() == [False, True, True]
    assert "no trial with dropout was completed" in result.summary()
    assert np.isfinite(frame["seconds"].astype(float)).all()
    with pytest.raises(RecdropError, match="its trials failed; 1 were completed before"):
        search(9)


class Exploded(Planted):
    def metrics(self, hp, epoch):
        return {name: 1e30 * value for name, value in super().metrics(hp, epoch).items()}


def test_large_scores_have_an_exponent_everywhere(tmp_path, planted_uri):
    oracle = OptunaOracle("val_loss", 4, seed=0, try_first=[{"wrapper": "none"}])
    result = planted_result(oracle, tmp_path, planted_uri, Exploded(failing=None))
    for text in (result.summary(), description(result), page(result)):
        assert "e+29" in text
        assert not re.search(r"\d{20}\.", text)


def test_what_the_journal_has_lost_the_trials_still_tell(planted, tmp_path):
    folder = shutil.copytree(planted.directory, tmp_path / "p")
    lines = (folder / JOURNAL).read_text().splitlines(keepends=True)
    (folder / JOURNAL).write_text("".join(line for line in lines if '"SearchStarted"' in line))
    found = rdt.TuneResult.load(folder)
    columns = ["trial_id", "state", "wrapper", "val_loss"]
    pd.testing.assert_frame_equal(found.trials[columns], planted.trials[columns])
    assert found.trials["seconds"].isna().all()
    assert found.history.empty
