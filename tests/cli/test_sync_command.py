"""`recdrop-tune sync`, in this process: what it writes is tested with `recdrop_tune.sync`."""

import pytest
from mlflow.tracking import MlflowClient

from tests.commands import output_of, refusal_of
from tests.mlflow_server import free_port
from tests.tracked_events import ended, journaled, started, trial


@pytest.fixture
def folder(tmp_path):
    journaled(tmp_path / "search", started(), *trial(0), *trial(1), ended())
    return tmp_path / "search"


def test_it_says_what_it_wrote(folder, tmp_path, new_store):
    uri = new_store(tmp_path)
    for written, there in ((2, 0), (0, 2)):
        output = output_of("sync", folder, "--tracking-uri", uri)
        counts = f"{written} runs of trials written, {there} were there."
        first, command = output.splitlines()
        assert first == f"{folder}: {counts} Experiment speech at {uri}."
        assert command.endswith(f" ui {folder} --tracking-uri {uri}")
    client = MlflowClient(uri)
    assert len(client.search_runs(["1"])) == 3


def test_a_server_that_is_away(folder):
    uri = f"http://ann:secret@127.0.0.1:{free_port()}"
    refused = refusal_of("sync", folder, "--tracking-uri", uri)
    assert "Connection refused" in refused
    assert "secret" not in refused
