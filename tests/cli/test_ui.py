"""Tests for `recdrop-tune ui`: the command as a process, with real servers on loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from urllib.request import urlopen

import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.cli.tracking import page_of
from tests.commands import output_of, refusal_of
from tests.forks import hearing_ctrl_c
from tests.mlflow_server import answers, free_port, mlflow_server
from tests.small_search import tuned
from tests.tracked_events import Sender, started, trial


def search(folder, uri, name="speech"):
    return tuned(folder / name, rdt.MLflow("tracked", uri=uri), max_trials=1).tracking


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder as a search leaves it: `mlflow.db` and `recdrop_runs/speech`."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def tracking(place, new_store):
    return search(place / "recdrop_runs", new_store(place))


@contextmanager
def running(place, *arguments):
    """Runs the command until the address is out; ends it if it still runs."""
    command = [sys.executable, "-P", "-m", "recdrop_tune.cli", "ui", "--no-browser", *arguments]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    process = subprocess.Popen(
        command,
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        url = process.stdout.readline()
        # Neither TensorFlow nor MLflow has said anything before.
        assert url.startswith("http"), url + process.stdout.read()
        yield process, url.rstrip()
    finally:
        process.terminate()  # With its server.
        process.communicate(timeout=60)


@pytest.mark.heavy
def test_a_database_is_served_until_it_is_ended(place, tracking, tmp_path):
    """From a folder of traps."""
    port = free_port()
    # Nothing that lies in the current folder is run, neither by the command nor by what it starts.
    for name in ("yaml", "queue", "click", "mlflow", "uvicorn", "fastapi", "flask", "sqlalchemy"):
        trace = f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')"
        (tmp_path / f"{name}.py").write_text(trace)
    folder = str(place / "recdrop_runs" / "speech")
    with running(tmp_path, folder, "--port", str(port)) as (process, url):
        key = f"recdrop-{tracking.search_id}"
        page = f"http://127.0.0.1:{port}/#/experiments/{tracking.mlflow.experiment_id}/runs"
        assert url == f"{page}?workflowType=machine_learning&viewStateShareKey={key}"
        client = MlflowClient(f"http://127.0.0.1:{port}")
        tags = client.get_experiment(tracking.mlflow.experiment_id).tags
        view = tags[f"mlflow.sharedViewState.{key}"]
        assert f"tags.`recdrop.search_id` = '{tracking.search_id}'" in view
        run_id = tracking.mlflow.parent_run_id
        table = urlopen(
            f"http://127.0.0.1:{port}/get-artifact?path=result/trials.csv&run_uuid={run_id}"
        )
        with table:
            assert table.read().startswith(b"trial_id,number")
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
        assert not answers(port)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "__pycache__").exists()


def test_ctrl_c_ends_the_server_of_the_newest_search(place, tracking, tmp_path, monkeypatch):
    """A server that answers only whether it is healthy."""
    server, port = tmp_path / "python", free_port()
    (tmp_path / "health").touch()
    script = f"cd {tmp_path} && exec {sys.executable} -S -m http.server --bind 127.0.0.1 {port}"
    server.write_text(f"#!/bin/sh\n{script}\n")
    server.chmod(0o700)
    asked = []

    def page_of(uri, search_id):
        asked.append((uri, search_id, answers(port)))
        return uri

    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.executable", str(server))
    monkeypatch.setattr("recdrop_tune.cli.tracking.page_of", page_of)
    monkeypatch.setattr("webbrowser.open", lambda page: signal.raise_signal(signal.SIGINT))
    address = f"http://127.0.0.1:{port}"
    with hearing_ctrl_c():
        assert output_of("ui", "--port", port) == f"{address}\n"
    assert asked == [(address, tracking.search_id, True)]
    assert not answers(port)


@pytest.mark.heavy
def test_a_server_is_only_pointed_at(tmp_path, place, tracking):
    with mlflow_server(tmp_path) as server:
        speech = place / "recdrop_runs" / "speech"
        refused = refusal_of("ui", "--no-browser", speech, "--tracking-uri", server.uri)
        assert refused.startswith(f"Error: {server.uri} has no run of this search: ")
        newest = search(tmp_path, server.uri, "newer")
        output = output_of("ui", "--no-browser", tmp_path / "newer")
        assert output.startswith(f"{server.uri}/#/experiments/{newest.mlflow.experiment_id}/runs?")
        assert output.endswith(f"viewStateShareKey=recdrop-{newest.search_id}\n")
        assert answers(server.port)


def test_a_running_search_has_the_columns_of_its_hyperparameters(tmp_path, new_store):
    uri = new_store(tmp_path)
    sender = Sender(tmp_path, uri)
    sender.send(started(), *trial(0), *trial(1))
    assert page_of(uri, "s").endswith("&viewStateShareKey=recdrop-s")
    tags = MlflowClient(uri).get_experiment_by_name("speech").tags
    columns = json.loads(tags["mlflow.sharedViewState.recdrop-s"])["selectedColumns"]
    assert {"params.`wrapper`", "params.`rate`"} <= {*columns}
    sender.close()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mlruns", "Error: Invalid value received for argument `tracking_uri`"),
        ("sqlite:///none.db", "Error: There is no database"),
        pytest.param(
            "sqlite:///damaged.db", "Error: MLflow's server did not start", marks=pytest.mark.heavy
        ),
        (f"http://ann:secret@127.0.0.1:{free_port()}", "Error: http://***@127.0.0.1"),
    ],
    ids=["folder", "missing", "damaged", "server"],  # Each process has another free port.
)
def test_stores_without_pages(place, tracking, tmp_path, monkeypatch, uri, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.db").write_text("nothing that sqlite knows")
    refused = refusal_of("ui", place / "recdrop_runs" / "speech", "--tracking-uri", uri)
    assert refused.startswith(message)
    assert "secret" not in refused


def test_a_port_that_is_taken(place, tracking):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = refusal_of("ui", place / "recdrop_runs" / "speech", "--port", port)
        assert refused.startswith("Error: The port is taken.")


def test_a_server_that_dies_is_an_error(place, tracking, monkeypatch):
    @contextmanager
    def dying(database, port):
        yield subprocess.Popen(["true"])

    monkeypatch.setattr("recdrop_tune.cli.tracking._serve", dying)
    monkeypatch.setattr("recdrop_tune.cli.tracking.page_of", lambda uri, search_id: uri)
    refused = refusal_of("ui", "--no-browser", place / "recdrop_runs" / "speech")
    assert refused.endswith("Error: MLflow's server has ended.\n")
