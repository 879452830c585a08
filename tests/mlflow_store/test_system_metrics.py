"""Tests for the metrics of the machine, on MLflow's own monitor."""

import sys
import time

import keras_tuner as kt
import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import RecdropError
from recdrop_tune.mlflow_store.system_metrics import SystemMetrics
from tests.small_search import build, data


@pytest.fixture
def run(planted_uri):
    client = MlflowClient(planted_uri)
    found = client.get_experiment_by_name("system")
    experiment = found.experiment_id if found else client.create_experiment("system")
    return client.create_run(experiment).info.run_id


def keys(uri, run):
    return [key for key in MlflowClient(uri).get_run(run).data.metrics if key.startswith("system/")]


def test_a_run_gets_the_numbers_of_the_machine(planted_uri, run, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    metrics = SystemMetrics(planted_uri)
    metrics.start(run)
    deadline = time.monotonic() + 30
    while not keys(planted_uri, run) and time.monotonic() < deadline:
        time.sleep(0.2)
    metrics.stop()
    assert "system/cpu_utilization_percentage" in keys(planted_uri, run)
    assert "system metrics monitoring" not in "".join(capfd.readouterr())
    metrics.stop()  # Twice does no harm.


def test_the_next_trial_takes_over(planted_uri, run):
    metrics = SystemMetrics(planted_uri)
    metrics.start(run)
    first = metrics._monitor
    started = time.perf_counter()
    metrics.start(run)
    assert time.perf_counter() - started < 6
    assert first._process is None
    metrics.stop()


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    x, y = data()
    what = r"pip install 'recdrop-tune\[system-metrics\]'"
    with pytest.raises(RecdropError, match=what):
        rdt.tune((x, y), (x, y), tracking=rdt.MLflow(system_metrics=True), directory=tmp_path / "p")
    assert not (tmp_path / "p").exists()
    tuner = kt.RandomSearch(build, "val_loss", 1, directory=tmp_path)
    with pytest.raises(RecdropError, match=what):
        rdt.track(tuner, rdt.MLflow("e", system_metrics=True))


def test_a_tracking_has_them_if_asked(tmp_path, planted_uri):
    for asked in (False, True):
        tuner = kt.RandomSearch(build, "val_loss", 1, directory=tmp_path / str(asked))
        options = rdt.MLflow("system", uri=planted_uri, system_metrics=asked)
        tracking = rdt.track(tuner, options)
        assert isinstance(tracking.mlflow.system_metrics, SystemMetrics) == asked
