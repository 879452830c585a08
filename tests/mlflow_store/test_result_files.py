"""Tests for the files of a result in the project folder, and for how MLflow gets them."""

import errno
import json
import math
from pathlib import Path

import keras
import keras_tuner as kt
import mlflow.artifacts
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.events import ResultSaved, SearchEnded, TrackingWarning, from_json, to_json
from recdrop_tune.files import fresh_path, is_leftover
from recdrop_tune.markdown import NOTE_LENGTH
from recdrop_tune.mlflow_store.artifacts import upload_result
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.results import TuneResult, save_result
from recdrop_tune.results.view import SearchView
from tests.planted_search import Planted, PlantedTuner, description, planted_result, save
from tests.small_search import build, contents, data, tuned
from tests.tracked_events import events_of

ALWAYS = {"history.csv", "report.html", "summary.md", "trials.csv", "trials.json"}
MODELS = {"best_model.json", "best_model.keras", "best_model.py"}


@pytest.fixture(scope="module")
def uri(planted_uri):
    return planted_uri


def names(folder):
    return {path.name for path in Path(folder, "result").iterdir()}


def search(tuner):
    tuner.search(*data(), validation_data=data(), epochs=2, verbose=0)


def searched(folder, uri, hypermodel, trials=1):
    """Runs a tracked random search; its project folder is `folder / "p"`."""
    place = {"directory": folder, "project_name": "p"}
    tuner = kt.RandomSearch(hypermodel, "val_loss", trials, **place)
    with rdt.track(tuner, rdt.MLflow("searched", uri=uri)):
        search(tuner)


@pytest.fixture(scope="module")
def planted_files(tmp_path_factory, uri):
    """A planted search of twelve trials, with the files of its result."""
    oracle = OptunaOracle("val_loss", 12, seed=1, try_first=[{"wrapper": "none"}])
    oracle.verbose = 0
    folder = tmp_path_factory.mktemp("result")
    tuner = PlantedTuner(oracle, Planted(), directory=folder, project_name="p")
    tracking = rdt.track(tuner, rdt.MLflow("result files", uri=uri))
    tuner.search()
    return TuneResult(tuner, tracking)


def test_the_result_is_the_last_event_but_one(planted_files):
    folder, states = planted_files.directory, planted_files.trials["state"]
    saved, end = events_of(folder)[-2:]
    assert (saved, type(end)) == (events_of(folder, ResultSaved)[0], SearchEnded)
    assert from_json(to_json(saved)) == saved
    assert names(folder) == {*ALWAYS, "importances.json"}
    assert saved.files == sorted(f"result/{name}" for name in names(folder))
    assert sorted(path.name for path in folder.iterdir() if "result" in path.name) == ["result"]
    assert saved.metrics["n_trials"] == len(states) == 12
    assert saved.metrics["n_complete"] == (states == "COMPLETE").sum()
    assert saved.metrics["n_failed"] == (states == "FAILED").sum()
    assert saved.best_trial_id == planted_files.best_id
    assert saved.best == planted_files.best_hyperparameters
    assert saved.summary == (folder / "result" / "summary.md").read_text()
    assert saved.summary == description(planted_files)


def test_the_tables_hold_the_trials(planted_files):
    folder, trials = planted_files.directory / "result", planted_files.trials
    read = pd.read_csv(folder / "trials.csv")
    assert list(read["trial_id"]) == list(trials["trial_id"].astype(int))
    assert "mlflow_run_id" not in read
    scores = read["val_loss"].to_numpy()
    np.testing.assert_allclose(scores, trials["val_loss"].to_numpy(dtype=float, na_value=np.nan))
    history = pd.read_csv(folder / "history.csv")
    assert len(history) == len(planted_files.history)
    importances = json.loads((folder / "importances.json").read_text())
    assert importances == planted_files.importances().to_dict()
    assert planted_files.trials["wrapper"][0] in (folder / "report.html").read_text()


class Formulas(Planted):
    """A search whose names and texts are formulas for a spreadsheet."""

    def build(self, hp):
        hp.Fixed("@name", "=1+1")
        hp.Fixed("shift", -3)
        return super().build(hp)

    def metrics(self, hp, epoch):
        return {**super().metrics(hp, epoch), "-loss": -1.5}


def test_tables_hold_no_formulas(tmp_path, uri):
    oracle = OptunaOracle("val_loss", 2, seed=0)
    result = planted_result(oracle, tmp_path, uri, Formulas(failing=None))
    save(result)
    folder = result.directory / "result"
    trials, history = (pd.read_csv(folder / name) for name in ("trials.csv", "history.csv"))
    assert set(trials["'@name"]) == {"'=1+1"}
    assert set(trials["shift"]) == {-3}
    assert set(trials["'-loss"]) == set(history["'-loss"]) == {-1.5}
    frame = pd.read_json(folder / "trials.json", orient="split")
    assert set(frame["@name"]) == {"=1+1"}


def test_a_long_summary_is_cut_between_lines(planted_files, tmp_path, monkeypatch):
    columns = {f"c{i}": str(i) * 50 for i in range(100)}
    monkeypatch.setattr(SearchView, "values_of", lambda view, name: columns)
    long = planted_files.view
    saved = save_result(long, tmp_path, None, str)
    whole = (tmp_path / "result" / "summary.md").read_text()
    assert len(saved.summary) <= NOTE_LENGTH < len(whole)
    kept, rest = saved.summary.rsplit("\n\n", 1)
    assert whole.startswith(f"{kept}\n")
    assert rest == "(The rest is in `summary.md`.)\n"


def test_mlflow_shows_the_files_and_the_table_as_one_of_its_own(planted_files, uri):
    client, [saved] = MlflowClient(uri), events_of(planted_files.directory, ResultSaved)
    run = client.create_run(planted_files.tracking.mlflow.experiment_id).info.run_id
    for _ in range(2):  # Twice does no harm.
        upload_result(client, run, planted_files.directory, saved)
    logged = {item.path for item in client.list_artifacts(run, "result")}
    assert logged == {f"result/{name}" for name in (*ALWAYS, "importances.json")}
    tags = client.get_run(run).data.tags
    table = {"path": "result/trials.json", "type": "table"}
    assert json.loads(tags["mlflow.loggedArtifacts"]) == [table]
    client.log_table(run, planted_files.trials.drop(columns="mlflow_run_id"), "trials.json")
    artifact = f"{client.get_run(run).info.artifact_uri}/trials.json"
    ours = json.loads((planted_files.directory / "result" / "trials.json").read_text())
    assert ours == json.loads(mlflow.artifacts.load_text(artifact))


def test_a_tuner_without_weights_leaves_a_result(tmp_path, uri):
    class Own(kt.Tuner):
        def run_trial(self, trial, *args, **kwargs):
            return {"val_loss": 1.0}

    oracle = kt.oracles.RandomSearchOracle("val_loss", 1)
    tuner = Own(oracle, build, directory=tmp_path, project_name="p")
    rdt.track(tuner, rdt.MLflow("no weights", uri=uri))
    search(tuner)
    assert names(tmp_path / "p") == ALWAYS


class Strange(keras.Sequential):
    """A model that Keras cannot save."""

    def get_config(self):
        raise ValueError("not this one")


def test_a_model_that_cannot_be_saved_costs_a_warning(tmp_path, uri):
    def build_it(hp):
        hp.Float("rate", 0.1, 0.2)
        model = Strange([keras.Input((5, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    with pytest.warns(TrackingWarning, match=r"best_model.keras` was not written: .*not this one"):
        searched(tmp_path, uri, build_it)
    assert names(tmp_path / "p") == ALWAYS
    assert len(events_of(tmp_path / "p", ResultSaved)) == 1


def test_a_model_that_cannot_be_made_again_stays(planted_files, tmp_path):
    """As after its checkpoint was removed, if it is still that of the best trial."""
    card = tmp_path / "result" / "best_model.json"
    card.parent.mkdir()
    for name in MODELS:
        (card.parent / name).write_text(name)
    card.write_text(json.dumps({"trial_id": planted_files.view.ranking[0]}))
    before = {name: (card.parent / name).read_bytes() for name in MODELS}

    def gone():
        raise FileNotFoundError

    saved = save_result(planted_files.view, tmp_path, gone, str)
    assert before == {name: (card.parent / name).read_bytes() for name in MODELS}
    assert {f"result/{name}" for name in MODELS} < set(saved.files)
    card.write_text(json.dumps({"trial_id": "another"}))
    save_result(planted_files.view, tmp_path, gone, str)
    assert not MODELS & names(tmp_path)


@pytest.mark.heavy
def test_a_search_that_goes_on_replaces_its_result(tmp_path, uri):
    for trials in (1, 2):
        searched(tmp_path, uri, build, trials)
        assert names(tmp_path / "p") == ALWAYS | MODELS
        (tmp_path / "p" / "result" / "left.txt").touch()
        fresh_path(tmp_path / "p" / "result").mkdir()  # As a crash leaves it.
        assert len(pd.read_csv(tmp_path / "p" / "result" / "trials.csv")) == trials
    assert [saved.metrics["n_trials"] for saved in events_of(tmp_path / "p", ResultSaved)] == [1, 2]
    assert "result/left.txt" not in events_of(tmp_path / "p", ResultSaved)[1].files
    assert len([path for path in (tmp_path / "p").iterdir() if is_leftover(path.name)]) == 1


def test_a_full_disk_leaves_the_earlier_result(planted_files, tmp_path, monkeypatch):
    save_result(planted_files.view, tmp_path, None, str)
    before = contents(tmp_path)

    def full(found):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("recdrop_tune.results.saving.full_outline", full)
    with pytest.raises(OSError, match="No space left"):
        save_result(planted_files.view, tmp_path, None, str)
    assert contents(tmp_path) == before


def test_what_fails_in_the_end_is_a_warning_and_the_search_ends(tmp_path, uri):
    tuner = kt.RandomSearch(build, "val_loss", 1, directory=tmp_path, project_name="p")
    tracking = rdt.track(tuner, rdt.MLflow("end fails", uri=uri))
    tracking.save_result = lambda: 1 / 0
    with pytest.warns(TrackingWarning, match="The result was not saved: ZeroDivisionError"):
        search(tuner)
    assert isinstance(events_of(tmp_path / "p")[-1], SearchEnded)


@pytest.mark.heavy
def test_tune_saves_the_confirmation_too(tmp_path, uri):
    tracking = rdt.MLflow("result of tune", uri=uri, register_model="digits")
    confirm = rdt.Confirm(1, seeds=2, max_seeds=2, test=data())
    result = tuned(tmp_path / "p", tracking, confirm=confirm)
    assert names(tmp_path / "p") == ALWAYS | MODELS | {"confirmation.csv"}
    [saved] = events_of(tmp_path / "p", ResultSaved)
    table = pd.read_csv(tmp_path / "p" / "result" / "confirmation.csv")
    assert list(table["mean"]) == pytest.approx(list(result.confirmation.table["mean"]))
    assert saved.metrics["confirmed"] == table["mean"][0]
    assert all(math.isfinite(value) for value in saved.metrics.values())
    assert result.confirmation.verdict in saved.summary
    started = events_of(tmp_path / "p")[0]
    assert started.register_model == "digits"
    assert [each["context"] for each in started.data] == ["training", "validation", "test"]
