"""Tests for logged and registered models: found again, loaded by others, the same predictions."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import keras_tuner as kt
import mlflow
import numpy as np
import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.mlflow_store.artifacts import log_model
from recdrop_tune.results import TuneResult
from recdrop_tune.wrappers import LockedDropout
from tests import ROOT
from tests.planted_search import save
from tests.small_search import build, data


@pytest.fixture(scope="module")
def uri(planted_uri):
    return planted_uri


class Wrapped(kt.HyperModel):
    """A model with one technique of this package, and locked dropout."""

    def __init__(self, technique):
        super().__init__()
        self.technique = technique

    def build(self, hp):
        rate = hp.Float("rate", 0.2, 0.4)
        lstm = rdt.wrap(keras.layers.LSTM(4), self.technique, rate=rate)
        outputs = keras.layers.Dense(2, activation="softmax")
        model = keras.Sequential([keras.Input((5, 3)), LockedDropout(0.3), lstm, outputs])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


def searched(folder, uri, hypermodel=build, trials=1, logs=True):
    """Searches; the best model is logged at the end, or it is only saved."""
    oracle = rdt.OptunaOracle("val_loss", trials, seed=0)
    tuner = rdt.Tuner(oracle, hypermodel, seed=0, directory=folder, project_name="p")
    tracking = rdt.track(tuner, rdt.MLflow("models", uri=uri))
    tracking.save_result = tracking.save_result if logs else None
    tuner.search(*data(), validation_data=data(), epochs=1, verbose=0)
    result = TuneResult(tuner, tracking)
    if not logs:
        save(result)
    return result


def logged(result, uri, **kwargs):
    """Logs the best model into the run of its trial; returns its id and that run's."""
    tracking = result.tracking
    run = tracking.mlflow.run_ids[result.best_id]
    also = [tracking.mlflow.parent_run_id]
    client, folder = MlflowClient(uri), result.directory
    return log_model(client, run, folder, tracking.search_id, also=also, **kwargs), run


@pytest.fixture(scope="module")
def result(tmp_path_factory, uri):
    return searched(tmp_path_factory.mktemp("models"), uri, Wrapped("recurrent"), trials=2)


def predictions_elsewhere(folder, uri, *models):
    """Has another process load models, each with a name and how it is loaded, in this order."""
    np.save(folder / "x.npy", data()[0])
    script = ROOT / "tests" / "load_logged_model.py"
    command = [sys.executable, script, uri, folder, json.dumps(models)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.load(folder / "predictions.npz")


def test_the_model_is_logged_once(result, uri):
    client, before = MlflowClient(uri), mlflow.get_tracking_uri()
    id, run = logged(result, uri)
    assert logged(result, uri)[0] == id
    model = client.get_logged_model(id)
    assert model.status == "READY"
    assert (model.source_run_id, model.name) == (run, "best_model")
    assert model.tags["recdrop.search_id"] == result.tracking.search_id
    assert model.params == {key: str(v) for key, v in result.best_hyperparameters.items()}
    assert {metric.key for metric in model.metrics} == {"objective"}
    for each in (run, result.tracking.mlflow.parent_run_id):
        outputs = client.get_run(each).outputs.model_outputs
        assert [output.model_id for output in outputs] == [id]
    info = mlflow.models.Model.load(model.artifact_location.removeprefix("file://"))
    assert (info.run_id, info.model_id) == (run, id)
    assert info.signature.inputs.inputs[0].shape == (-1, 5, 3)
    assert info.signature.outputs.inputs[0].shape == (-1, 2)
    card = json.loads((result.directory / "result" / "best_model.json").read_text())
    assert card["requirements"][0] == f"keras=={keras.__version__}"
    assert not any("recdrop" in line for line in card["requirements"])
    # MLflow's global state stays as it was.
    assert mlflow.get_tracking_uri() == before != uri
    assert mlflow.active_run() is None


@pytest.mark.heavy
def test_an_upload_that_was_broken_off_is_made_up_for(tmp_path, uri, monkeypatch):
    result = searched(tmp_path, uri, logs=False)
    path = tmp_path / "p" / "result" / "best_model.json"
    card = json.loads(path.read_text())
    *others, numpy = card["requirements"]
    # No index has builds such as torch's 2.13.0+cu130, so they are not asked for.
    path.write_text(json.dumps({**card, "requirements": [*others, f"{numpy}+cu130"]}))
    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_model_artifacts", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            logged(result, uri)
    id, run = logged(result, uri)
    client = MlflowClient(uri)
    experiment = client.get_run(run).info.experiment_id
    found = client.search_logged_models([experiment], f"source_run_id = '{run}'")
    assert [(model.model_id, model.status) for model in found] == [(id, "READY")]
    asked = Path(found[0].artifact_location.removeprefix("file://"), "requirements.txt").read_text()
    assert numpy in asked.splitlines()
    assert "+" not in asked


@pytest.mark.heavy
def test_the_model_is_registered_once_and_an_alias_that_was_moved_stays(tmp_path, result, uri):
    client = MlflowClient(uri)

    def alias():
        return int(client.get_model_version_by_alias("m", "champion").version)

    for _ in range(2):
        id, run = logged(result, uri, register_model="m")
    [version] = client.search_model_versions("name = 'm'")
    assert (version.run_id, alias()) == (run, 1)
    tag = json.loads(client.get_logged_model(id).tags["mlflow.modelVersions"])
    assert [each["name"] for each in tag] == ["m"]
    logged(searched(tmp_path, uri), uri, register_model="m")
    assert len(client.search_model_versions("name = 'm'")) == 2
    assert alias() == 2
    client.set_registered_model_alias("m", "champion", "1")
    logged(result, uri, register_model="m")
    logged(searched(tmp_path / "third", uri), uri, register_model="m")
    assert len(client.search_model_versions("name = 'm'")) == 3
    assert alias() == 1


@pytest.mark.heavy
def test_others_load_it_without_this_package_except_for_zoneout(result, uri, tmp_path):
    id, _ = logged(result, uri, register_model="loaded")
    zoneout = searched(tmp_path, uri, Wrapped("zoneout"))
    id_of_zoneout, _ = logged(zoneout, uri)
    card = json.loads((tmp_path / "p" / "result" / "best_model.json").read_text())
    assert not card["plain"]
    assert any(line.startswith("recdrop-tune==") for line in card["requirements"])
    predicted = predictions_elsewhere(
        tmp_path,
        uri,
        ("keras", f"models:/{id}", "keras"),
        ("alias", "models:/loaded@champion", "keras"),
        ("pyfunc", f"models:/{id}", "pyfunc"),
        ("zoneout", f"models:/{id_of_zoneout}", "pyfunc of ours"),
    )
    expected, of_zoneout = (
        each.best_model().predict(data()[0], verbose=0) for each in (result, zoneout)
    )
    for name in ("keras", "alias", "pyfunc"):
        np.testing.assert_allclose(predicted[name], expected, atol=1e-6)
    np.testing.assert_allclose(predicted["zoneout"], of_zoneout, atol=1e-6)
