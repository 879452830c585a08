"""`recdrop-tune sync`, in this process: what it writes is tested with `recdrop_tune.sync`."""

import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from recdrop_tune.cli import main
from tests.mlflow_server import free_port
from tests.tracked_events import ended, journaled, started, trial


def called(*arguments):
    return CliRunner().invoke(main, ["sync", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path):
    journaled(tmp_path / "search", started(), *trial(0), *trial(1), ended())
    return tmp_path / "search"


def test_it_says_what_it_wrote(folder, tmp_path, new_store):
    uri = new_store(tmp_path)
    for written, there in ((2, 0), (0, 2)):
        done = called(folder, "--tracking-uri", uri)
        assert done.exit_code == 0, done.output
        counts = f"{written} runs of trials written, {there} were there."
        first, command = done.output.splitlines()
        assert first == f"{folder}: {counts} Experiment speech at {uri}."
        assert command.endswith(f" ui {folder} --tracking-uri {uri}")
    client = MlflowClient(uri)
    assert len(client.search_runs(["1"])) == 3


def test_a_server_that_is_away(folder):
    done = called(folder, "--tracking-uri", f"http://ann:secret@127.0.0.1:{free_port()}")
    assert (done.exit_code, "Connection refused" in done.output) == (1, True)
    assert "secret" not in done.output
