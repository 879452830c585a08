"""Tests for the metrics of the machine, on MLflow's own monitor."""

import sys
import time

import keras_tuner as kt
import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import RecdropError
from recdrop_tune.mlflow_store.writer import SystemMetrics
from tests.small_search import build


@pytest.fixture
def run(planted_uri):
    client = MlflowClient(planted_uri)
    found = client.get_experiment_by_name("system")
    experiment = found.experiment_id if found else client.create_experiment("system")
    return client.create_run(experiment).info.run_id


def keys(uri, run):
    return [key for key in MlflowClient(uri).get_run(run).data.metrics if key.startswith("system/")]


def test_a_run_gets_the_numbers_of_the_machine_until_the_next_one(
    planted_uri, run, monkeypatch, capfd
):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    metrics = SystemMetrics(planted_uri)
    metrics.start(run)
    deadline = time.monotonic() + 30
    while not keys(planted_uri, run) and time.monotonic() < deadline:
        time.sleep(0.1)
    first = metrics._monitor
    metrics.start(run)
    assert first._process is None
    metrics.stop()
    assert "system/cpu_utilization_percentage" in keys(planted_uri, run)
    assert "system metrics monitoring" not in "".join(capfd.readouterr())
    metrics.stop()  # Twice does no harm.


def test_a_tracking_has_them_if_asked(tmp_path, planted_uri, monkeypatch):
    for asked in (False, True):
        tuner = kt.RandomSearch(build, "val_loss", 1, directory=tmp_path / str(asked))
        tracking = rdt.track(tuner, rdt.MLflow("system", uri=planted_uri, system_metrics=asked))
        assert isinstance(tracking.mlflow.system_metrics, SystemMetrics) == asked
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(RecdropError, match=r"pip install 'recdrop-tune\[system-metrics\]'"):
        rdt.MLflow(system_metrics=True)
