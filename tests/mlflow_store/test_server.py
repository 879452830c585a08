"""Tests for `tests.mlflow_server`: what the tests of outages rest on."""

import pytest
from mlflow.tracking import MlflowClient

from tests.mlflow_server import mlflow_server


@pytest.mark.heavy
def test_a_server_is_killed_and_comes_back_with_its_runs(tmp_path):
    with mlflow_server(tmp_path) as server:
        client = MlflowClient(server.uri)
        run = client.create_run("0")
        client.log_text(run.info.run_id, "kept", "note.txt")
        server.kill()
        assert not server.answers()
        server.start()
        assert client.get_run(run.info.run_id).info.status == "RUNNING"
        assert client.list_artifacts(run.info.run_id)[0].path == "note.txt"
    assert not server.answers()
