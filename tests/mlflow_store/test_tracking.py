"""Tests for `events` and `mlflow_store`: real tuners, real MLflow on sqlite."""

import contextlib
import json
import shlex
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import keras
import keras_tuner as kt
import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, hide
from recdrop_tune.events import (
    TrackingWarning,
)
from recdrop_tune.journal import Journal
from recdrop_tune.mlflow_store.contents import trial_params
from recdrop_tune.mlflow_store.pages import leaderboard_url, run_name, ui_command, view
from recdrop_tune.mlflow_store.stores import prepare
from recdrop_tune.mlflow_store.writer import MLflowWriter
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.records import Records
from recdrop_tune.search.tuner_tracking import open_session
from tests import ROOT
from tests.small_search import Failing, build, data
from tests.tracked_events import runs_of, started


@pytest.fixture(scope="module")
def uri(tmp_path_factory, new_store) -> str:
    return new_store(tmp_path_factory.mktemp("mlflow"))


def search(tuner, epochs=2, **kwargs):
    x, y = data()
    tuner.search(x, y, validation_data=(x, y), epochs=epochs, verbose=0, **kwargs)


def runs(uri, experiment):
    """Returns the run of the search and those of its trials, in order."""
    (parent,) = runs_of(uri, experiment, kind="search")
    children = runs_of(uri, experiment, kind="trial")
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in children)
    return parent, sorted(children, key=lambda run: run.data.tags["recdrop.trial_id"])


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, uri):
    """A random search of three trials, tracked."""
    tuner = kt.RandomSearch(
        build, "val_loss", 3, seed=5, directory=tmp_path_factory.mktemp("t"), project_name="speech"
    )
    about = {"space": "wrapper: none", "info": {"epochs": 2}}
    tracking = open_session(tuner, rdt.MLflow("tracked", uri=uri), **about)
    search(tuner)
    return tuner, tracking


def test_the_run_of_the_search(tracked, uri, tmp_path):
    tuner, tracking = tracked
    parent, children = runs(uri, "tracked")
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 4
    assert {run.info.run_id for run in children} == set(tracking.mlflow.run_ids.values())
    assert parent.info.run_name == "speech"
    expected = {"tuner": "RandomSearch", "objective": "val_loss", "direction": "min"}
    expected |= {"max_trials": "3", "epochs": "2", "keras": keras.__version__}
    assert expected.items() <= parent.data.params.items()
    client = MlflowClient(uri)
    curve = client.get_metric_history(parent.info.run_id, "best_val_loss")
    scores = [tuner.oracle.get_trial(id).score for id in tuner.oracle.start_order]
    assert [point.step for point in curve] == [0, 1, 2]
    assert [p.value for p in curve] == pytest.approx([min(scores[: n + 1]) for n in range(3)])
    names = [item.path for item in client.list_artifacts(parent.info.run_id)]
    assert names == ["space.yaml", "trials.csv"]
    path = client.download_artifacts(parent.info.run_id, "trials.csv", str(tmp_path))
    lines = Path(path).read_text().splitlines()
    assert lines[0].startswith("trial_id,number,state,objective,best_epoch,epochs,seconds,wrapper")
    assert len(lines) == 4


def test_the_runs_of_the_trials(tracked, uri):
    tuner, tracking = tracked
    client = MlflowClient(uri)
    for number, run in enumerate(runs(uri, "tracked")[1]):
        id, params, metrics = run.data.tags["recdrop.trial_id"], run.data.params, run.data.metrics
        trial = tuner.oracle.get_trial(id)
        assert set(params) == {"wrapper", "placement", "rate"}
        for name in ("wrapper", "placement"):
            assert params[name] == str(trial.hyperparameters.values.get(name, "n/a"))
        assert float(params["rate"]) == pytest.approx(trial.hyperparameters.values.get("rate", 0.0))
        assert metrics["objective"] == pytest.approx(trial.score)
        assert (metrics["best_epoch"], metrics["epochs_run"]) == (trial.best_step, 2)
        assert metrics["n_params"] == 32
        assert next(iter(metrics)) == "val_loss"  # MLflow compares runs by it at first.
        assert metrics["train_seconds"] == pytest.approx(tracking.records.trials[id].seconds)
        assert run.data.tags["recdrop.state"] == "COMPLETE"
        words = [params[key] for key in ("wrapper", "placement", "rate")]
        words = [word for word in words if word not in ("n/a", "0")]
        assert run.info.run_name == " ".join([f"{number:04d}", *words])
        for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
            curve = client.get_metric_history(run.info.run_id, name)
            assert [point.step for point in curve] == [0, 1]


def test_the_journal_has_every_event(tracked):
    tuner, tracking = tracked
    events = Journal(f"{tuner.project_dir}/events.jsonl").read()
    kinds = [type(event).__name__ for event in events]
    trial = ["TrialStarted", "ModelBuilt", "EpochEnded", "EpochEnded", "TrialEnded"]
    assert kinds == ["SearchStarted", *trial * 3, "NoMoreTrials", "SearchEnded"]
    assert [event.time for event in events] == sorted(event.time for event in events)
    assert Records(events).to_csv() == tracking.records.to_csv()
    # A training after the search is not a part of it.
    best = tuner.get_best_hyperparameters()[0]
    x, y = data()
    tuner.hypermodel.fit(best, tuner.hypermodel.build(best), x, y, epochs=3, verbose=0)
    assert Journal(tracking.journal_path).read() == events


def test_a_tuner_is_tracked_once(tracked):
    tuner, _ = tracked
    with pytest.raises(InvalidArgumentError, match=r"`tuner`.*not tracked yet"):
        open_session(tuner, rdt.MLflow("once", uri="sqlite://"))


@pytest.mark.heavy
def test_hyperband_counts_epochs_over_the_whole_training(tmp_path, uri):
    tuner = kt.Hyperband(build, "val_loss", max_epochs=2, factor=2, directory=tmp_path)
    tuner.oracle.max_trials = 5
    tracking = open_session(tuner, rdt.MLflow("hyperband", uri=uri))
    search(tuner)
    assert len(runs(uri, "hyperband")[1]) == len(tuner.oracle.trials) == 5
    firsts = set()
    for id, record in tracking.records.trials.items():
        values = tuner.oracle.get_trial(id).hyperparameters.values
        first, last = values["tuner/initial_epoch"], values["tuner/epochs"]
        assert [epoch.epoch for epoch in record.epochs] == list(range(first, last))
        assert first <= record.best_epoch < last
        firsts.add(first)
    assert firsts == {0, 1}


def test_executions_do_not_mix(tmp_path, uri):
    tuner = kt.RandomSearch(build, "val_loss", 1, executions_per_trial=2, directory=tmp_path)
    open_session(tuner, rdt.MLflow("executions", uri=uri))
    callbacks = [keras.callbacks.TerminateOnNaN()]
    search(tuner, callbacks=callbacks)
    assert len(callbacks) == 1  # The caller's list stays as it is.
    client = MlflowClient(uri)
    [run] = runs(uri, "executions")[1]
    # The further step of the first is what both are worth together, at their best epoch.
    for name, expected in (("val_loss", [0, 1, 2]), ("execution2/val_loss", [0, 1])):
        steps = [p.step for p in client.get_metric_history(run.info.run_id, name)]
        assert steps == expected


def test_failed_trials(tmp_path, uri):
    oracle = OptunaOracle("val_loss", 2, try_first=[{"wrapper": "none"}, {"wrapper": "lambda"}])
    tuner = kt.Tuner(oracle, Failing(), directory=tmp_path)
    open_session(tuner, rdt.MLflow("failing", uri=uri))
    search(tuner, epochs=1)
    _, children = runs(uri, "failing")
    client, (failed,) = MlflowClient(uri), [run for run in children if run.info.status == "FAILED"]
    assert failed.data.params["wrapper"] == "lambda"
    assert [item.path for item in client.list_artifacts(failed.info.run_id)] == ["error.txt"]
    path = client.download_artifacts(failed.info.run_id, "error.txt", str(tmp_path))
    assert Path(path).read_text().startswith("ValueError: the loss went to the moon\n\nTraceback")
    assert "objective" not in failed.data.metrics


@pytest.mark.filterwarnings("ignore:All-NaN axis:RuntimeWarning")
def test_an_objective_that_is_nan_has_a_reason(tmp_path, uri):
    class Diverging(Failing):
        def fit(self, hp, model, *args, **kwargs):
            return {"val_loss": float("nan")}

    tuner = kt.RandomSearch(Diverging(), "val_loss", 1, directory=tmp_path)
    tracking = open_session(tuner, rdt.MLflow("nan", uri=uri))
    search(tuner)
    reason = "`val_loss` was NaN in every epoch; try a smaller learning rate"
    assert tracking.records.trials["0"].ended.message == reason


START = """
import sys
from recdrop_tune.journal import Journal
from recdrop_tune.mlflow_store.writer import MLflowWriter
from tests.tracked_events import started
MLflowWriter(sys.argv[1], Journal("none")).write_all([started()])
"""


@pytest.mark.heavy
def test_a_process_killed_at_the_start_leaves_a_database_that_works(tmp_path):
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    with subprocess.Popen([sys.executable, "-c", START, uri], cwd=ROOT) as process:
        while process.poll() is None:
            if any(path.stat().st_size for path in tmp_path.rglob("*.db")):
                time.sleep(0.3)
                process.kill()
                break
            time.sleep(0.01)
    assert process.returncode == -signal.SIGKILL
    writer = MLflowWriter(uri, Journal(tmp_path / "events.jsonl"))
    writer.write_all([started()])
    assert writer.ids.parent_run_id is not None
    names = {path.name for path in (tmp_path / "new").iterdir() if path.is_file()}
    assert names == {"mlflow.db"}


def test_a_database_that_another_process_made_meanwhile_stays(tmp_path, monkeypatch):
    path, search = tmp_path / "mlflow.db", MlflowClient.search_experiments

    def meanwhile(client, **options):
        path.write_text("theirs")
        return search(client, **options)

    monkeypatch.setattr(MlflowClient, "search_experiments", meanwhile)
    prepare(f"sqlite:///{path}")
    assert path.read_text() == "theirs"


@pytest.mark.usefixtures("impatient")
def test_a_database_that_mlflow_cannot_use_has_a_short_reason(tmp_path):
    path = tmp_path / "mlflow.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE jobs (id INTEGER)")
        connection.commit()
    tuner = kt.RandomSearch(build, "val_loss", 1, directory=tmp_path, project_name="p")
    tracking = open_session(tuner, rdt.MLflow("ruined", uri=f"sqlite:///{path}"))
    with pytest.warns(TrackingWarning) as caught:
        search(tuner, epochs=1)
    [message] = [str(each.message) for each in caught if each.category is TrackingWarning]
    assert "table jobs already exists; give another `uri`, or move the file" in message
    assert "\n" not in message
    assert tracking.mlflow.experiment_id is None


def test_the_command_is_short_and_of_this_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    there = str((tmp_path / "my runs").resolve())
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / ".venv/bin"))
    assert shlex.split(ui_command("mysql://host/d", "my runs")) == ["recdrop-tune", "ui", there]
    for folder in ("bin", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "recdrop-tune").touch(mode=0o755)
    here = [".venv/bin/recdrop-tune", "ui", there]  # Another environment's is found in the path.
    assert shlex.split(ui_command("sqlite:///a.db", "my runs")) == here
    monkeypatch.setenv("PATH", str(tmp_path / ".venv/bin"))
    assert shlex.split(ui_command("sqlite:///a.db", "my runs")) == ["recdrop-tune", "ui", there]


@pytest.mark.parametrize("uri", ["http://host:5000", "sqlite:///:memory:", "mysql://u:p@host/d"])
def test_there_is_no_command_that_would_not_work(uri):
    assert ui_command(hide(uri), "p") is None


def test_the_leaderboard_is_where_the_pages_are():
    def host(uri):
        return leaderboard_url(hide(uri), "1", "a", ascending=True).partition("/#/")[0]

    assert host("https://ann:pw@host:5000/") == "https://host:5000"
    assert host("mysql://ann:pw@host/d") == host("sqlite:///a.db") == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"wrapper": "none", "placement": None, "rate": None}, {"rate": 0}),
        # The rate of all sites is no question where each has its own.
        ({"rate": None, "rate.input": 0.2, "rate.recurrent": None}, {"rate.recurrent": 0}),
        ({"learning_rate": None, "schedule": None}, {}),
        # `concrete` learns its rates, and each layer has its own technique.
        (
            {"a/wrapper": "concrete", "a/rate": None, "b/wrapper": "none", "b/rate": None},
            {"b/rate": 0},
        ),
    ],
)
def test_no_dropout_is_dropout_at_rate_0(values, expected):
    assert trial_params(values) == {**values, **expected}


def test_a_view_has_one_axis_for_each_hyperparameter_with_several_values():
    trials = [{"wrapper": "none", "rate": None}, {"wrapper": "zoneout", "rate": 0.2}]
    text = view("a", "val_loss", True, trials)
    (parallel,) = [e for e in json.loads(text)["compareRunCharts"] if e["type"] == "PARALLEL"]
    assert parallel["selectedParams"] == ["wrapper", "rate"]
    assert parallel["selectedMetrics"] == ["objective"]
    trials[1] = {"wrapper": "concrete", "rate": None}
    assert "rate`" not in view("a", "val_loss", True, trials)


def test_the_name_of_a_run_names_the_layers():
    values = {"enc/wrapper": "recurrent", "enc/placement": "input", "enc/rate": 0.3}
    values |= {"dec/wrapper": "none", "dec/placement": None, "dec/rate": None, "units": 8}
    assert run_name(0, "0", values) == "0000 enc recurrent input 0.3 dec none"
