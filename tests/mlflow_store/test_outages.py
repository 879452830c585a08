"""A tracking server that is down, dies, hangs or fails: nothing waits, and nothing is lost or twice."""

import contextlib
import os
import random
import signal
import socket
import sqlite3
import threading
import time
import warnings

import keras_tuner as kt
import pytest
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.errors import hide
from recdrop_tune.events import TrackingWarning
from recdrop_tune.mlflow_store.stores import _REQUESTS
from recdrop_tune.mlflow_store.writer import TrackingError
from tests.mlflow_server import free_port, mlflow_server, overloaded
from tests.small_search import Failing, data, tuned
from tests.tracked_events import Sender, ended, events_of, image, journaled, started, trial

# Servers that are started again, and waits for those that do not answer.
pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that tests may kill, as long as they start it again."""
    with mlflow_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(autouse=True)
def said_nothing(monkeypatch):
    """As for a user who has said nothing of requests, before and after."""
    for name in _REQUESTS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def sender(tmp_path):
    """Makes what sends the events of a search to a store."""
    with contextlib.ExitStack() as stack:

        def of(uri, folder="search"):
            made = Sender(tmp_path / folder, uri)
            stack.callback(made.close)
            return made

        yield of


@pytest.fixture
def is_whole(server, tmp_path, new_store):
    """Asserts that a server has all of a search, and nothing twice, as if nothing had troubled it."""

    def check(parts):
        uri, name = new_store(tmp_path, "untroubled.db"), parts[0][0].experiment
        untroubled = Sender(tmp_path / "untroubled", uri)
        untroubled.send(*(event for part in parts for event in part))
        untroubled.close()
        assert image(server.uri, name) == image(uri, name)  # Raises where a run is there twice.

    return check


def patiently(sender, seconds=60):
    """Waits until the tracking has written everything by itself."""
    deadline = time.monotonic() + seconds
    while sender.background.failure is not None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sender.background.failure is None


def search(name):
    """Events of three trials, by trials."""
    begin = started(search_id=name, experiment=name)
    return [[begin], trial(0), trial(1, status="PRUNED"), trial(2, status="FAILED"), [ended()]]


@pytest.fixture
def restless(impatient, monkeypatch):
    """Tries a server that failed once a second, not ever more rarely."""
    monkeypatch.setattr("recdrop_tune.mlflow_store.background._LONGEST_DELAY", 1.0)


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_server_that_is_killed_gets_what_it_missed(server, sender, is_whole, at):
    """At 0 it is down from the start."""
    parts, sending = search(f"killed {at}"), sender(server.uri)
    for number, part in enumerate(parts):
        if number == at:
            sending.send(*part[:-2])
            server.kill()
            with pytest.warns(TrackingWarning, match=r"MLflow at .* failed: .* sync "):
                sending.send(*part[-2:])
        else:
            sending.send(*part)
    assert sending.background.failure is not None
    server.start()
    patiently(sending)
    is_whole(parts)


@pytest.mark.usefixtures("restless")
def test_a_request_that_comes_through_late_leaves_nothing_twice(server, sender, monkeypatch):
    """The server is stopped, not dead: when it continues, it carries out what was given up."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    parts, sending = search("late"), sender(server.uri)
    sending.send(*parts[0], *parts[1])
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.warns(TrackingWarning, match="timed out"):
            sending.send(*parts[2])
        sending.send(*parts[3])
    finally:
        os.kill(server.pid, signal.SIGCONT)
    sending.send(flush=True)
    sending.send(*parts[4])
    patiently(sending)
    found = image(server.uri, "late")  # Raises where a run is there twice.
    assert len(found) == 4
    assert "RUNNING" not in {run["status"] for run in found.values()}


@contextlib.contextmanager
def silent_server():
    """Accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        held = []
        stop = threading.Event()

        def accept():
            listening.settimeout(0.1)
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    held.append(listening.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()
            for connection in held:
                connection.close()


@contextlib.contextmanager
def absent_server():
    yield f"http://ann:secret@127.0.0.1:{free_port()}"


@pytest.mark.parametrize("broken", [silent_server, absent_server])
def test_a_search_does_not_wait_for_a_server_that_does_not_work(
    tmp_path, broken, new_store, monkeypatch
):
    monkeypatch.setitem(_REQUESTS, "MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    begin = time.monotonic()
    with broken() as uri, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TrackingWarning)
        result = tuned(tmp_path / "search", rdt.MLflow("tuned", uri=uri))
    # The search takes seconds. At the end the server is asked once more, for two seconds a request; MLflow
    # alone would try for minutes.
    assert time.monotonic() - begin < 60
    [said] = [str(each.message) for each in caught if each.category is TrackingWarning]
    assert said.startswith(f"MLflow at {hide(uri)} failed: ")
    assert "secret" not in said
    assert result.tracking.mlflow.experiment_id is None
    assert len(result.trials) == 2
    assert " sync " in result.summary()
    done = rdt.sync(tmp_path / "search", new_store(tmp_path))
    assert (done.written, done.there) == (2, 0)


SEARCH = """
import sqlite3, sys, types

def refuse(**options):
    raise sqlite3.OperationalError("connection refused")

# A driver for a database that is down.
sys.modules["pymysql"] = types.SimpleNamespace(**{{**vars(sqlite3), "connect": refuse}})
import recdrop_tune as rdt
from tests.small_search import tuned
tuned({folder!r}, rdt.MLflow(uri={uri!r}), max_trials=1, epochs={epochs}, verbose=2)
"""


@pytest.mark.parametrize(("epochs", "code"), [(3, 0), (100_000, -signal.SIGTERM)])
def test_a_process_ends_although_its_database_is_down(tmp_path, forks, new_store, epochs, code):
    """At the end of a search, and by SIGTERM; MLflow alone tries to connect for 100 seconds."""
    uri = "mysql+pymysql://ann:secret@127.0.0.1/runs"
    folder, log = tmp_path / "search", tmp_path / "log"
    search = SEARCH.format(folder=str(folder), uri=uri, epochs=epochs)
    process = forks.start({"code": search, "log": str(log)})
    forks.wait_for_output(process, log, "epoch 3")
    if code:
        os.kill(process, -code)
    assert forks.wait(process) == code, log.read_text()
    waited = time.time() - events_of(folder)[-1].time
    assert waited < 50  # Some seconds on a machine that is free.
    assert "secret" not in log.read_text()
    assert rdt.sync(folder, new_store(tmp_path)).written == 1


def test_a_second_ctrl_c_waits_for_no_server(tmp_path):
    pressed = []

    def presses_again():
        pressed.append(time.monotonic())
        raise KeyboardInterrupt

    with silent_server() as uri:
        hypermodel = Failing(("none", "recurrent", "lambda"), KeyboardInterrupt)
        tuner = kt.RandomSearch(hypermodel, "val_loss", 2, directory=tmp_path, project_name="p")
        tracking = rdt.track(tuner, rdt.MLflow(uri=uri))
        tracking.save_result = presses_again
        with pytest.raises(KeyboardInterrupt), tracking:
            tuner.search(*data(), validation_data=data(), epochs=1, verbose=0)
        assert time.monotonic() - pressed[0] < 5
    last = events_of(tmp_path / "p")[-2:]
    assert [each.status for each in last] == ["INTERRUPTED", "KILLED"]


def test_what_the_user_deletes_stops_nothing(tmp_path, sender, new_store):
    uri = new_store(tmp_path)
    sending, client = sender(uri), MlflowClient(uri)
    first, *rest = trial(0)
    sending.send(started(), first)
    client.delete_run(sending.writer.ids.run_ids["0"])
    sending.send(*rest, *trial(1), ended())
    assert sending.background.failure is None
    assert [key[1] for key in image(uri)] == ["1", None]
    client.delete_experiment(client.create_experiment("other"))
    with pytest.warns(TrackingWarning, match="`other` has been deleted in MLflow; restore it"):
        sender(uri, "other").send(started(search_id="other", experiment="other"))


def test_a_store_of_artifacts_that_does_not_work_costs_the_artifacts_only(
    tmp_path, sender, new_store, caplog
):
    """As with a bucket for which this machine has no credentials: here a folder that is a file."""
    uri = new_store(tmp_path)
    (tmp_path / "file").touch()
    MlflowClient(uri).create_experiment("speech", f"{(tmp_path / 'file').as_uri()}/below")
    sending = sender(uri)
    sending.send(started(), *trial(0), *trial(1, status="FAILED"), ended())
    assert sending.background.failure is None
    statuses = {key[1]: run["status"] for key, run in image(uri, artifacts=False).items()}
    assert statuses == {None: "FINISHED", "0": "FINISHED", "1": "FAILED"}
    said = [record.message for record in caplog.records if "artifact store" in record.message]
    names = [message.partition(": ")[0].split()[-1] for message in said]
    assert sorted(names) == ["error.txt", "space.yaml", "trials.csv"]
    sending.close()
    (tmp_path / "file").unlink()  # It has been repaired.
    done = rdt.sync(tmp_path / "search", uri)
    assert (done.written, done.there) == (1, 1)
    other = new_store(tmp_path, "other.db")
    rdt.sync(tmp_path / "search", other)
    assert image(uri) == image(other)


def test_a_request_that_was_refused_and_came_through_leaves_nothing_twice(server, sender, is_whole):
    """The first creation of each run, and of the experiment, as where a proxy gives up too early."""
    seen = set()

    def refuses(method, path):
        fresh = (method, path) not in seen and "create" in path
        seen.add((method, path))
        return "after" if fresh else ""

    parts = search("came through")
    with overloaded(server.port, refuses) as (uri, asked):
        sending = sender(uri)
        for part in parts:
            sending.send(*part)
            seen.clear()
        assert sending.background.failure is None
    is_whole(parts)
    assert len([path for path in asked if path.endswith("runs/create")]) == 4


@pytest.mark.filterwarnings("ignore::recdrop_tune.events.TrackingWarning")
def test_a_busy_server_gets_everything_once(server, sender, is_whole):
    """One of ten requests is refused."""
    numbers, parts = random.Random(1), search("busy")
    with overloaded(server.port, lambda *_: "before" * (numbers.random() < 0.1)) as (uri, _):
        sending = sender(uri)
        for part in parts:
            sending.send(*part)
        patiently(sending, 200)
    is_whole(parts)


def test_a_second_sync_continues_where_a_server_went_away(server, tmp_path, is_whole):
    """The third request to create a run is carried out, and its answer lost."""
    parts, creations = search("while"), []
    journaled(tmp_path, *(event for part in parts for event in part))

    def refuses(method, path):
        creations.extend([path] * path.endswith("runs/create"))
        return "after" * (len(creations) > 2)

    with overloaded(server.port, refuses) as (uri, _), pytest.raises(TrackingError, match="503"):
        rdt.sync(tmp_path, uri)
    done = rdt.sync(tmp_path, server.uri)
    assert (done.written, done.there) == (2, 1)
    is_whole(parts)


def test_a_database_that_is_locked_for_a_while_costs_nothing(
    tmp_path, sender, new_store, monkeypatch
):
    """Not even an artifact, whose store also asks the database."""
    uri, log_text = new_store(tmp_path), MlflowClient.log_text
    locking = sqlite3.connect(uri.removeprefix("sqlite:///"), check_same_thread=False)

    def locked(*args, **kwargs):
        monkeypatch.setattr(MlflowClient, "log_text", log_text)
        locking.execute("BEGIN EXCLUSIVE")
        threading.Timer(1.5, locking.rollback).start()
        return log_text(*args, **kwargs)

    sending = sender(f"{uri}?timeout=0.1")
    sending.send(started(), *trial(0))
    monkeypatch.setattr(MlflowClient, "log_text", locked)
    sending.send(*trial(1, status="FAILED"), ended())
    assert sending.background.failure is None
    sending.close()
    locking.close()
    assert rdt.sync(tmp_path / "search", uri).there == 2
