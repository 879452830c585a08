"""`sync`: MLflow from the project folder alone."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading

import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError
from recdrop_tune.mlflow_store import synchronization as _sync
from recdrop_tune.mlflow_store.runs import Point, Runs
from recdrop_tune.mlflow_store.stores import prepare
from recdrop_tune.mlflow_store.writer import LOCK, writing_alone
from tests import ROOT
from tests.tracked_events import (
    Sender,
    confirmation,
    ended,
    image,
    journaled,
    runs_of,
    started,
    trial,
    written,
)


@pytest.fixture
def stores(tmp_path, new_store):
    """The addresses of two empty stores."""
    return [new_store(tmp_path, f"{name}.db") for name in ("one", "other")]


def test_an_empty_store_becomes_what_the_other_was(tmp_path, stores):
    events = [started(), *trial(0), *trial(1, status="FAILED"), *trial(1, when=1_790_000_100.0)]
    events += [*trial(2, status="FAILED"), *trial(3, status="PRUNED"), confirmation(0)]
    written(tmp_path, stores[0], *events, confirmation(0, 1), ended())
    before = image(stores[0])
    assert len(before) == 6
    kinds = [(key[0], run["status"]) for key, run in before.items() if key[1] == "1"]
    assert kinds == [("trial", "FINISHED"), ("superseded", "FAILED")]
    for uri, written_there in ((stores[1], (5, 0)), (stores[0], (0, 5)), (stores[1], (0, 5))):
        done = rdt.sync(tmp_path, uri)
        assert (done.written, done.there, done.experiment) == (*written_there, "speech")
        assert image(uri) == before


@pytest.mark.parametrize("lost", [1, 5, 8, 12])
def test_whatever_is_missing_at_the_end_is_written(tmp_path, stores, lost):
    """As if MLflow had taken the first events only: those of the journal, less some."""
    events = [started(), *trial(0), *trial(1), confirmation(0), ended()]
    written(tmp_path / "whole", stores[0], *events)
    written(tmp_path / "half", stores[1], *events[:-lost])
    journaled(tmp_path / "half", *events[-lost:])
    rdt.sync(tmp_path / "half", stores[1])
    assert image(stores[1]) == image(stores[0])


def test_a_search_that_was_killed(tmp_path, stores):
    others = [*trial(0), *trial(2, status="PRUNED"), *trial(3, status="FAILED")]
    written(tmp_path, stores[0], started(), *others, *trial(1, status=None))
    for uri in stores:
        rdt.sync(tmp_path, uri)
    found = image(stores[0])
    statuses = {None: "KILLED", "0": "FINISHED", "1": "KILLED", "2": "FINISHED", "3": "FAILED"}
    assert {key[1]: run["status"] for key, run in found.items()} == statuses
    assert image(stores[1]) == found


def test_a_search_that_was_killed_and_went_on(tmp_path, stores):
    first = [started(), *trial(0), *trial(1, status=None)]
    second = [started(when=1_790_000_200.0), *trial(1, when=1_790_000_201.0), ended()]
    written(tmp_path, stores[0], *first)
    written(tmp_path, stores[0], *second)
    rdt.sync(tmp_path, stores[1])
    assert image(stores[1]) == image(stores[0])
    kinds = sorted(key[0] for key in image(stores[1]))
    assert kinds == ["search", "superseded", "trial", "trial"]


def test_a_search_that_goes_on_writes_what_was_left_out(tmp_path, stores):
    journaled(tmp_path, started(), *trial(0), ended())
    written(tmp_path, stores[0], started(when=1_790_000_500.0), *trial(7), ended())
    assert [key[1] for key in image(stores[0])] == ["7", "0", None]


def test_a_search_that_is_running_is_left_alone(tmp_path, stores):
    sender = Sender(tmp_path, stores[0])
    sender.send(started(), *trial(0))
    with pytest.raises(ProjectError, match=r"is running, and writes to MLflow itself"):
        rdt.sync(tmp_path)
    sender.close()
    assert rdt.sync(tmp_path, stores[1]).written == 1


def test_a_folder_without_a_search(tmp_path):
    with pytest.raises(ProjectError, match=r"holds no search.*Give the folder that was printed"):
        rdt.sync(tmp_path / "nothing")
    with pytest.raises(ProjectError, match="holds no search"):
        rdt.sync(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_runs_go_where_the_search_had_them(tmp_path, stores, monkeypatch):
    journaled(tmp_path / "p", started(tracking_uri=stores[0]), *trial(0), ended())
    assert rdt.sync(tmp_path / "p").tracking_uri == stores[0]
    # Credentials are not kept, so they have to be given.
    hidden = "postgresql://***@db/mlflow"
    journaled(tmp_path / "q", started(tracking_uri=hidden), *trial(0), ended())
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InvalidArgumentError, match=r"`tracking_uri`.*db/mlflow` with its cred"):
        rdt.sync(tmp_path / "q")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stores[1])
    assert rdt.sync(tmp_path / "q").tracking_uri == stores[1]


SEVERAL = """
from pathlib import Path
from tests.tracked_events import Sender, ended, started, trial
sender = Sender(Path({folder!r}), {uri!r})
sender.send(started(search_id={name!r}), *trial(0), *trial(1), ended())
assert sender.background.failure is None, sender.background.failure
"""


@pytest.mark.heavy
def test_several_processes_at_once(tmp_path, forks):
    """They make one new database and one new experiment at the same moment."""
    uri, log = f"sqlite:///{tmp_path}/new.db", tmp_path / "log"
    codes = [SEVERAL.format(folder=str(tmp_path / n), uri=uri, name=n) for n in "abc"]
    several = [forks.start({"code": code, "log": str(log)}) for code in codes]
    assert [forks.wait(pid) for pid in several] == [0, 0, 0], log.read_text()
    found = runs_of(uri, "speech")
    kinds = [(run.data.tags["recdrop.search_id"], run.data.tags["recdrop.kind"]) for run in found]
    assert sorted(kinds) == sorted((n, k) for n in "abc" for k in ("search", "trial", "trial"))
    assert {run.info.status for run in found} == {"FINISHED"}


SYNC = """
import sys
import recdrop_tune as rdt
for folder, uri in zip(sys.argv[1::2], sys.argv[2::2]):
    done = rdt.sync(folder, uri)
    print(done.written, done.there)
"""


def test_one_beside_a_search_that_begins(tmp_path, stores):
    """The search waits in its tracking thread, and continues in the same runs."""
    journaled(tmp_path, started(), *(e for number in range(8) for e in trial(number)), ended())
    sender = Sender(tmp_path, stores[0])
    later = 1_790_002_000.0
    begun = threading.Event()

    def begin(there, total):
        if there == 2:
            sender.send(started(when=later), *trial(8, when=later + 1), flush=False)
            begun.set()

    assert rdt.sync(tmp_path, stores[0], progress=begin).written == 8
    assert begun.is_set()
    sender.send(ended(when=later + 50))
    sender.close()
    assert sender.background.failure is None
    found = image(stores[0])
    assert sorted(key[1] or "" for key in found) == ["", *map(str, range(9))]
    assert {run["status"] for run in found.values()} == {"FINISHED"}


def test_another_writer_is_waited_for(tmp_path, stores, monkeypatch):
    journaled(tmp_path, started(), *trial(0), ended())
    monkeypatch.setattr(_sync, "_PATIENCE", 0.3)
    with (
        writing_alone(tmp_path, 0.0),
        pytest.raises(ProjectError, match=r"Another process.* is writing the runs"),
    ):
        rdt.sync(tmp_path, stores[0])
    assert rdt.sync(tmp_path, stores[0]).written == 1


def test_without_locks_a_run_that_is_there_twice_is_deleted(tmp_path, stores, monkeypatch):
    """As on a file system without them, where another process has created the same run meanwhile."""

    def refuse(*args):
        raise OSError(errno.ENOLCK, "no locks")

    journaled(tmp_path, started(), *trial(0), *trial(1), ended())
    monkeypatch.setattr(fcntl, "flock", refuse)

    def other(there, total):
        if there == 1:
            (run,) = runs_of(stores[0], "speech", kind="trial")
            tags = {k: v for k, v in run.data.tags.items() if k.startswith("recdrop.")}
            client, about = MlflowClient(stores[0]), run.info
            client.create_run(about.experiment_id, start_time=about.start_time, tags=tags)

    rdt.sync(tmp_path, stores[0], progress=other)
    assert len(image(stores[0])) == 3


@pytest.mark.heavy
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
def test_a_folder_that_is_read_only(tmp_path, stores):
    """Without a file for the lock, and with one."""
    folders = [tmp_path / "p", tmp_path / "q"]
    for folder in folders:
        journaled(folder, started(), *trial(0), ended())
        (folder / "events.jsonl").chmod(0o444)
    (folders[1] / LOCK).touch(mode=0o444)
    # Root would write all the same.
    command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] * (os.geteuid() == 0)
    command += [sys.executable, "-c", SYNC, str(folders[0]), stores[0], str(folders[1]), stores[1]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        for folder in folders:
            folder.chmod(0o555)
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 0\n" * 2
    for store in stores:
        assert len(image(store, artifacts=False)) == 2


def test_a_refused_parameter_costs_nothing_else(tmp_path, stores, caplog):
    """Another one of this name is there: MLflow would refuse all that comes with it."""
    prepare(stores[0])
    runs = Runs(stores[0], "speech")
    run_id = runs.create("a", {"recdrop.search_id": "s"}, 1.0)
    runs.write(run_id, {"units": 1})
    runs.write(run_id, {"units": 2}, [Point("loss", 0.5, 0, 1.0)], {"kind": "x"})
    run = runs.client.get_run(run_id)
    assert (run.data.params, run.data.metrics) == ({"units": "1"}, {"loss": 0.5})
    assert run.data.tags["kind"] == "x"
    assert "refused a part of run" in caplog.text


def test_many_of_all_in_one_call(tmp_path, stores):
    runs = Runs(stores[0], "speech")
    run_id = runs.create("a", {"recdrop.search_id": "s"}, 1.0)
    params = {f"p{number}": "x" * 3000 for number in range(250)}
    points = [Point("loss", float(step), step, 1.0 + step) for step in range(2500)]
    runs.write(run_id, params, points, {f"t{number}": number for number in range(90)})
    run = runs.client.get_run(run_id)
    assert len(run.data.params) == 250
    assert len(runs.client.get_metric_history(run_id, "loss")) == 2500
    assert len([name for name in run.data.tags if name.startswith("t")]) == 90
