"""Tests for `recdrop_tune.results`, on one real search."""

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from recdrop_tune.errors import RecdropError
from recdrop_tune.facade import tune
from tests.small_search import Failing, data

SPACE = {
    "units": 4,
    "wrapper": ["none", "native", "recurrent", "lambda"],
    "rate": {"min": 0.1, "max": 0.5, "step": 0.1},
    "learning_rate": {"min": 1e-3, "max": 1e-1, "log": True},
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    return tune(
        data(32),
        data(16),
        space=SPACE,
        max_trials=5,
        epochs=2,
        seed=0,
        verbose=0,
        experiment="results",
        directory=folder / "project",
        tracking_uri=f"sqlite:///{folder}/mlflow.db",
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


def test_inactive_hyperparameters_are_missing(result):
    without = result.trials["wrapper"] == "none"
    assert without.any()
    assert result.trials[without][["placement", "rate"]].isna().all(axis=None)
    assert result.trials[~without][["placement", "rate"]].notna().all(axis=None)


def test_baselines_come_first(result):
    first = result.trials.sort_values("number").head(2)
    assert list(first["wrapper"]) == ["none", "native"]
    assert list(first["placement"].fillna("-")) == ["-", "recurrent"]
    # The middle of both ranges, the same in both.
    assert list(first["rate"].fillna(0.0)) == [0.0, 0.3]
    assert list(first["learning_rate"]) == pytest.approx([0.01, 0.01])


def test_the_frame_is_what_mlflow_holds(result):
    client = MlflowClient(f"sqlite:///{result.directory.parent}/mlflow.db")
    for row in result.trials.itertuples():
        run = client.get_run(row.mlflow_run_id)
        assert run.data.metrics["objective"] == pytest.approx(row.val_loss)
        assert run.data.metrics["best_epoch"] == row.best_epoch
        assert run.data.params["wrapper"] == row.wrapper
        assert run.data.params["placement"] == ("n/a" if pd.isna(row.placement) else row.placement)
        assert run.data.params["rate"] == ("n/a" if pd.isna(row.rate) else str(row.rate))
        curve = client.get_metric_history(row.mlflow_run_id, "val_loss")
        assert [point.step for point in curve] == [0, 1]
        assert curve[row.best_epoch].value == pytest.approx(row.val_loss)
        accuracy = client.get_metric_history(row.mlflow_run_id, "val_accuracy")
        assert accuracy[row.best_epoch].value == pytest.approx(row.val_accuracy)


def test_the_best_trial(result):
    row = result.trials.iloc[0]
    assert result.best_trial.trial_id == row["trial_id"]
    assert result.best_hyperparameters["wrapper"] == row["wrapper"]
    assert None not in result.best_hyperparameters.values()
    assert set(result.best_hyperparameters) <= {*SPACE, "placement"}


def test_the_best_model_has_the_weights_of_its_best_epoch(result):
    x, y = data(16)
    loss, accuracy = result.best_model().evaluate(x, y, verbose=0)
    assert loss == pytest.approx(result.trials["val_loss"][0], rel=1e-5)
    assert accuracy == pytest.approx(result.trials["val_accuracy"][0])


def test_gain_over_the_baselines(result):
    frame = result.trials
    for wrapper in ("none", "native"):
        gain = result.gain_over(wrapper)
        baseline = frame[frame["wrapper"] == wrapper]["val_loss"].min()
        assert gain.baseline == wrapper
        assert gain.gain == pytest.approx(baseline - frame["val_loss"].min())
    assert result.gain_over("zoneout") is None


def test_summary(result):
    text = result.summary(top=3)
    assert text.startswith(f"5 trials, 5 complete. Best val_loss: {result.best_trial.score:.4f}\n")
    assert f"wrapper={result.best_hyperparameters['wrapper']}" in text
    assert "Gain over no dropout" in text
    assert str(result.directory) in text
    assert result.ui_command in text
    table = text.split("\n\n")[1].splitlines()
    assert len(table) == 4
    assert "units" not in table[0]


def test_where_to_look_in_mlflow(result):
    assert result.ui_command == f"mlflow ui --backend-store-uri {result.tracking_uri}"
    assert result.ui_url.startswith("http://127.0.0.1:5000/#/experiments/")
    assert "workflowType=machine_learning" in result.ui_url
    assert result.ui_url.endswith("orderByAsc=true")
    assert result.experiment == "results"


def test_failed_trials_are_rows_too(tmp_path):
    result = tune(
        data(),
        data(),
        hypermodel=Failing(("lambda", "recurrent")),
        max_trials=3,
        epochs=1,
        seed=3,
        verbose=0,
        directory=tmp_path / "p",
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
    )
    frame = result.trials
    assert list(frame["state"]) == ["COMPLETE", "FAILED", "FAILED"]
    assert frame["val_loss"].isna().tolist() == [False, True, True]
    assert result.gain_over("none").gain == 0.0
    assert "the best trial has no dropout" in result.summary()
    assert np.isfinite(frame["seconds"].astype(float)).all()
    with pytest.raises(RecdropError, match="its trials failed; 1 were completed before"):
        tune(
            data(),
            data(),
            hypermodel=Failing(("lambda", "recurrent")),
            max_trials=9,
            epochs=1,
            seed=3,
            verbose=0,
            directory=tmp_path / "p",
            tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
        )
