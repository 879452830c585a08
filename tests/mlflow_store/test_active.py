"""MLflow as people use it: active runs and experiments, tags, and searches without MLflow."""

import keras_tuner as kt
import mlflow
import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.cli import main
from recdrop_tune.errors import RecdropError
from tests.small_search import build, tuned


@pytest.fixture
def store(tmp_path, new_store, monkeypatch):
    """The store that MLflow's own functions use, as if `mlflow.set_tracking_uri` had been called."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.setenv(name, "")  # Restored at the end, whatever MLflow sets.
    uri = new_store(tmp_path, "active.db")
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.set_tracking_uri(None)


@pytest.fixture
def used(store, tmp_path):
    """Returns the experiment and the tags that a search would have."""

    def of(tracking=True):
        tuner = kt.RandomSearch(build, "val_loss", 1, directory=tmp_path, project_name="project")
        tracked = rdt.track(tuner, tracking)
        return tracked.experiment, tracked.description.tags

    return of


def test_an_active_experiment_is_the_default(used, store, new_store, tmp_path, monkeypatch):
    assert used() == ("project", {})
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "named")
    assert used() == ("named", {})
    mlflow.set_experiment("active")
    assert used() == used(rdt.MLflow()) == ("active", {})
    assert used("mine") == ("mine", {})
    # Its number says nothing about another store.
    assert used(rdt.MLflow(uri=new_store(tmp_path, "other.db"))) == ("named", {})
    with mlflow.start_run(experiment_id=MlflowClient().create_experiment("of the run")) as run:
        parent = {"mlflow.parentRunId": run.info.run_id}
        assert used() == ("of the run", parent)
        assert used(rdt.MLflow("mine", tags={"team": 7})) == ("mine", {"team": "7", **parent})
        assert used(rdt.MLflow(uri="sqlite:///other.db")) == ("named", {})
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "77")
    with pytest.raises(RecdropError, match=r"experiment 77 .* No Experiment with id=77"):
        used()
    assert used("mine")[0] == "mine"


@pytest.mark.heavy
def test_a_search_is_nested_in_the_active_run(store):
    client = MlflowClient(store)
    with mlflow.start_run(experiment_id=client.create_experiment("speech")) as active:
        before = client.get_run(active.info.run_id).to_dictionary()
        result = tuned("runs/a", rdt.MLflow(tags={"team": "seven"}))
        assert mlflow.active_run().info.run_id == active.info.run_id
        assert client.get_run(active.info.run_id).to_dictionary() == before
    assert (result.search.experiment, result.search.tracking_uri) == ("speech", store)
    runs = client.search_runs([active.info.experiment_id], "tags.team = 'seven'")
    parents = {run.info.run_id: run.data.tags["mlflow.parentRunId"] for run in runs}
    searched = result.tracking.mlflow.parent_run_id
    trials = dict.fromkeys(result.trials["mlflow_run_id"], searched)
    assert parents == {searched: active.info.run_id, **trials}
    # Resumed elsewhere, with other tags.
    tuned("runs/a", rdt.MLflow("speech", tags={"team": "eight"}))
    tags = client.get_run(searched).data.tags
    assert (tags["team"], tags["mlflow.parentRunId"]) == ("eight", active.info.run_id)
    assert (
        tuned("runs/a", True).search.experiment == "speech"
    )  # Or all trials would be there twice.


@pytest.mark.heavy
def test_a_search_without_mlflow(store, tmp_path):
    folder = tmp_path / "runs/a"
    result = tuned("runs/a", None)
    assert len(result.trials) == 2
    assert result.trials["mlflow_run_id"].isna().all()
    assert "MLflow" not in result.summary()
    for each in (result, rdt.TuneResult.load(folder)):
        about = each.search.experiment, each.search.tracking_uri, each.ui_command, each.ui_url
        assert about == (None,) * 4
    assert not MlflowClient(store).search_runs(["0"])
    assert [each.name for each in MlflowClient(store).search_experiments()] == ["Default"]
    assert not (tmp_path / "mlflow.db").exists()
    found = CliRunner().invoke(main, ["ui", str(folder), "--no-browser"])
    assert "has no run of this search" in found.output
    # It can be recorded afterwards.
    synced = rdt.sync(folder)
    assert (synced.experiment, synced.tracking_uri, synced.written) == ("a", store, 2)
