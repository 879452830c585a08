"""A tracking server that is down, dies, hangs or fails: nothing waits, and nothing is lost or twice."""

import contextlib
import http.server
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings

import keras_tuner as kt
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

import recdrop_tune as rdt
from recdrop_tune.events import TrackingWarning, TrialEnded
from recdrop_tune.journal import Journal
from recdrop_tune.mlflow_store import stores
from recdrop_tune.mlflow_store.stores import _REQUESTS, prepare
from recdrop_tune.terminal import Progress
from tests import ROOT
from tests.mlflow_server import free_port, mlflow_server, overloaded
from tests.small_search import Failing as Breaking
from tests.small_search import build, data
from tests.tracked_events import Sender, ended, image, started, trial

# Servers that are started again and again, each time for a quarter of a minute.
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


@pytest.fixture(scope="module")
def untroubled(tmp_path_factory):
    """Returns what MLflow has of a search of events whom nothing troubled."""
    folder = tmp_path_factory.mktemp("untroubled")

    def of(name, *events):
        uri = f"sqlite:///{folder}/{name}.db"
        sender = Sender(folder / name, uri)
        sender.send(*events)
        sender.close()
        return image(uri, name)

    return of


def patiently(sender, condition, seconds=60):
    """Waits for something that the tracking does by itself."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert condition(), sender.background.failure


def search(name):
    """Events of three trials, by trials."""
    begin = started(search_id=name, experiment=name)
    return [[begin], trial(0), trial(1, status="PRUNED"), trial(2, status="FAILED"), [ended()]]


@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_server_that_is_killed_gets_what_it_missed(server, tmp_path, untroubled, at):
    parts = search(f"killed {at}")
    sender = Sender(tmp_path, server.uri)
    for number, part in enumerate(parts):
        if number == at:
            sender.send(*part[:-2])
            server.kill()
            with pytest.warns(TrackingWarning, match=r"MLflow failed: .* sync "):
                sender.send(*part[-2:])
        else:
            sender.send(*part)
    assert sender.background.failure is not None
    server.start()
    patiently(sender, lambda: sender.background.failure is None)
    expected = untroubled(f"killed {at}", *(event for part in parts for event in part))
    assert image(server.uri, f"killed {at}") == expected


def test_a_server_that_is_down_at_the_start_gets_all_of_it(server, tmp_path, untroubled):
    parts = search("down")
    server.kill()
    sender = Sender(tmp_path, server.uri)
    with pytest.warns(TrackingWarning, match="Connection refused"):
        sender.send(*parts[0], *parts[1])
    sender.send(*parts[2])
    server.start()
    sender.send(*parts[3], *parts[4])
    assert sender.background.failure is None
    expected = untroubled("down", *(event for part in parts for event in part))
    assert image(server.uri, "down") == expected


def test_a_request_that_comes_through_late_leaves_nothing_twice(server, tmp_path, monkeypatch):
    """The server is stopped, not dead: what was given up is carried out when it goes on."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    parts = search("late")
    sender = Sender(tmp_path, server.uri)
    sender.send(*parts[0], *parts[1])
    os.killpg(server._process.pid, signal.SIGSTOP)
    try:
        with pytest.warns(TrackingWarning, match="timed out"):
            sender.send(*parts[2])
        sender.send(*parts[3])
    finally:
        os.killpg(server._process.pid, signal.SIGCONT)
    sender.send(flush=True)
    sender.send(*parts[4])
    patiently(sender, lambda: sender.background.failure is None)
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
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        stop.set()
        thread.join()
        for connection in held:
            connection.close()


class Failing(http.server.BaseHTTPRequestHandler):
    """Answers every request with an error."""

    def do_GET(self):
        self.send_error(500, "no paper")

    do_POST = do_GET

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def failing_server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Failing) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def tuned(folder, uri, **more):
    options = {"max_trials": 3, "epochs": 2, "seed": 0, "verbose": 0, **more}
    tracking = rdt.MLflow("tuned", uri=uri)
    return rdt.tune(data(), data(), build, directory=folder, tracking=tracking, **options)


@pytest.mark.parametrize("broken", [silent_server, failing_server])
def test_a_search_does_not_wait_for_a_server_that_does_not_work(tmp_path, broken):
    tuned(tmp_path / "first", f"sqlite:///{tmp_path}/mlflow.db")  # What is loaded once is loaded.
    begin = time.monotonic()
    tuned(tmp_path / "whole", f"sqlite:///{tmp_path}/mlflow.db")
    usual = time.monotonic() - begin
    begin = time.monotonic()
    with broken() as uri, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TrackingWarning)
        result = tuned(tmp_path / "search", uri)
    # At the end it is asked once more, for the ten seconds that a request may take.
    assert time.monotonic() - begin < usual + 35
    assert len([each for each in caught if each.category is TrackingWarning]) == 1
    assert len(result.trials) == 3
    assert " sync " in result.summary()
    done = rdt.sync(tmp_path / "search", f"sqlite:///{tmp_path}/other.db")
    assert (done.written, done.there) == (3, 0)


SEARCH = """
import sys
import recdrop_tune as rdt
from tests.small_search import build, data
folder, uri, epochs = sys.argv[1:]
options = {"max_trials": 1, "epochs": int(epochs), "verbose": 2, "directory": folder}
rdt.tune(data(), data(), build, tracking=rdt.MLflow(uri=uri), **options)
"""


@pytest.mark.parametrize(("epochs", "code"), [(3, 0), (100_000, -signal.SIGTERM)])
def test_a_process_ends_although_its_database_is_down(tmp_path, epochs, code):
    """At the end of a search, and by SIGTERM; MLflow alone tries to connect for 100 seconds."""
    uri = f"postgresql+psycopg://ann:secret@127.0.0.1:{free_port()}/runs"
    command = [sys.executable, "-c", SEARCH, str(tmp_path / "search"), uri, str(epochs)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        while "epoch 3" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
        if code:
            process.send_signal(-code)
        _, errors = process.communicate(timeout=120)
    waited = time.time() - Journal(tmp_path / "search" / "events.jsonl").read()[-1].time
    assert waited < 10
    assert process.returncode == code, errors
    assert "secret" not in errors
    assert rdt.sync(tmp_path / "search", f"sqlite:///{tmp_path}/other.db").written == 1


def test_a_second_ctrl_c_waits_for_no_server(tmp_path):
    def presses_again(tracking):
        raise KeyboardInterrupt

    with silent_server() as uri:
        hypermodel = Breaking(("none", "recurrent", "lambda"), KeyboardInterrupt)
        tuner = kt.RandomSearch(hypermodel, "val_loss", 2, directory=tmp_path, project_name="p")
        tracking = rdt.track(tuner, rdt.MLflow(uri=uri))
        tracking.at_end = presses_again
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt), tracking:
            tuner.search(*data(), validation_data=data(), epochs=1, verbose=0)
        assert time.monotonic() - begin < 5
    last = Journal(tmp_path / "p" / "events.jsonl").read()[-2:]
    assert [each.status for each in last] == ["INTERRUPTED", "KILLED"]


def test_a_search_outlives_its_server(server, tmp_path):
    """Killed with -9 in an epoch of the second trial, and started again while the search goes on."""
    back = threading.Event()

    def restart():
        server.kill()
        server.start()
        back.set()

    class Killing(Progress):
        def on_event(self, event):
            if isinstance(event, TrialEnded) and event.trial_id.endswith("0"):
                restarting.start()
            if isinstance(event, TrialEnded) and event.trial_id.endswith("4"):
                back.wait(120)

    restarting = threading.Thread(target=restart)
    oracle = rdt.OptunaOracle("val_loss", max_trials=6, seed=0)
    tuner = rdt.Tuner(oracle, build, directory=tmp_path, project_name="search", seed=0)
    tracking = rdt.track(
        tuner, tracking=rdt.MLflow("outlived", uri=server.uri), listeners=[Killing()]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrackingWarning)
        tuner.search(*data(), validation_data=data(), epochs=3, verbose=0)
    restarting.join()
    assert tracking.failure is None
    found = image(server.uri, "outlived", artifacts=False)
    history = Journal(tmp_path / "search" / "events.jsonl").read()
    other = f"sqlite:///{tmp_path}/rebuilt.db"
    rdt.sync(tmp_path / "search", other)
    assert image(other, "outlived", artifacts=False) == found
    assert len([event for event in history if isinstance(event, TrialEnded)]) == 6
    assert len(found) == 7


def test_a_server_that_is_never_there_costs_a_search_one_warning(tmp_path):
    sender = Sender(tmp_path, f"http://ann:secret@127.0.0.1:{free_port()}")
    with pytest.warns(TrackingWarning) as caught:
        sender.send(started())
    for part in (trial(0), trial(1), [ended()]):
        sender.send(*part)  # Warnings are errors here.
    assert len(caught) == 1
    assert "secret" not in str(caught[0].message)


def test_a_run_that_the_user_deletes_stops_nothing(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    prepare(uri)
    sender = Sender(tmp_path, uri)
    first, *rest = trial(0)
    sender.send(started(), first)
    client = MlflowClient(uri)
    client.delete_run(sender.writer.run_ids["0"])
    sender.send(*rest, *trial(1), ended())
    assert sender.background.failure is None
    assert [key[1] for key in image(uri)] == ["1", None]


def test_an_experiment_that_the_user_deletes_has_a_remedy(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    prepare(uri)
    client = MlflowClient(uri)
    client.delete_experiment(client.create_experiment("speech"))
    sender = Sender(tmp_path, uri)
    with pytest.warns(TrackingWarning, match="`speech` has been deleted in MLflow; restore it"):
        sender.send(started())


def test_a_store_of_artifacts_that_does_not_work_costs_the_artifacts_only(tmp_path, caplog):
    """As with a bucket for which this machine has no credentials: here a folder that is a file."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    prepare(uri)
    (tmp_path / "file").touch()
    MlflowClient(uri).create_experiment("speech", f"{(tmp_path / 'file').as_uri()}/below")
    sender = Sender(tmp_path, uri)
    sender.send(started(), *trial(0), *trial(1, status="FAILED"), ended())
    assert sender.background.failure is None
    found = image(uri, artifacts=False)
    assert {key[1]: run["status"] for key, run in found.items()} == {
        None: "FINISHED",
        "0": "FINISHED",
        "1": "FAILED",
    }
    said = [record.message for record in caplog.records if "artifact store" in record.message]
    names = [message.partition(": ")[0].split()[-1] for message in said]
    assert sorted(names) == ["error.txt", "space.yaml", "trials.csv"]
    sender.close()
    (tmp_path / "file").unlink()  # It has been repaired.
    for written, there in ((1, 1), (0, 2)):
        done = rdt.sync(tmp_path, uri)
        assert (done.written, done.there) == (written, there)
    (tmp_path / "other").mkdir()
    other = f"sqlite:///{tmp_path}/other/mlflow.db"
    rdt.sync(tmp_path, other)
    assert image(uri) == image(other)


def test_a_request_that_was_refused_and_came_through_leaves_nothing_twice(
    server, tmp_path, untroubled
):
    """The first creation of each run, and of the experiment, as where a proxy gives up too early."""
    seen = set()

    def refuses(method, path):
        fresh = (method, path) not in seen and "create" in path
        seen.add((method, path))
        return "after" if fresh else ""

    with overloaded(server.port, refuses) as (uri, asked):
        parts = search("came through")
        sender = Sender(tmp_path, uri)
        for part in parts:
            sender.send(*part)
            seen.clear()
        assert sender.background.failure is None
        created = [path for path in asked if path.endswith("runs/create")]
    expected = untroubled("came through", *(event for part in parts for event in part))
    assert image(server.uri, "came through") == expected  # Raises where a run is there twice.
    assert len(created) == 4
    sender.close()


def test_a_busy_server_costs_a_search_nothing(server, tmp_path, untroubled):
    """Three of ten requests are refused: no warning, nothing missing, nothing twice."""
    numbers = random.Random(1)
    with overloaded(server.port, lambda *_: "before" * (numbers.random() < 0.3)) as (uri, _):
        parts = search("busy")
        sender = Sender(tmp_path, uri)
        for part in parts:
            sender.send(*part)
        assert sender.background.failure is None
    expected = untroubled("busy", *(event for part in parts for event in part))
    assert image(server.uri, "busy") == expected
    sender.close()


def test_sync_goes_on_where_a_server_went_away_for_a_while(server, tmp_path, monkeypatch):
    """Twelve requests in a row are refused, more than are sent again at once."""
    monkeypatch.setattr(stores, "_FIRST_PAUSE", 0.01)
    sender = Sender(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    sender.send(started(search_id="while", experiment="while"), *trial(0), *trial(1), ended())
    sender.close()
    count = []

    def refuses(method, path):
        count.append(path)
        return "before" * (12 <= len(count) < 24)

    with overloaded(server.port, refuses) as (uri, _):
        done = rdt.sync(tmp_path, uri)
    assert (done.written, done.there) == (2, 0)
    assert image(server.uri, "while") == image(f"sqlite:///{tmp_path}/mlflow.db", "while")


def test_a_request_without_an_answer_is_not_sent_again(monkeypatch):
    """The next one would hang as long; a server that is not there is asked again, for it may restart."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with silent_server() as uri:
        begin = time.monotonic()
        with pytest.raises(MlflowException, match="timed out") as failure:
            stores.PersistentClient(MlflowClient(uri)).search_experiments()
        assert time.monotonic() - begin < 5
    assert not stores.is_transient(failure.value)
    with pytest.raises(MlflowException, match="refused") as failure:
        MlflowClient(f"http://127.0.0.1:{free_port()}").search_experiments()
    assert stores.is_transient(failure.value)
