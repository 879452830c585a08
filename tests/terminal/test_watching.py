"""How a search stands, read from its journal while another process writes it, or afterwards."""

import json
import os
import socket

import pytest

from recdrop_tune.events import STOPPED, EpochEnded, NoMoreTrials, TrialEnded
from recdrop_tune.files import ask_to_stop
from recdrop_tune.journal import Journal
from recdrop_tune.terminal import WatchedSearch
from tests.tracked_events import confirmation, ended, journaled, started, trial

HERE = {"pid": os.getpid(), "host": socket.gethostname()}
PROCESS = f"(process {os.getpid()} on {socket.gethostname()})"


@pytest.fixture
def writing(tmp_path):
    """Writes events to a journal that stays open, like that of a running search."""
    journal = Journal(tmp_path / "events.jsonl")

    def write(*events):
        for event in events:
            journal.on_event(event)

    yield write
    journal.close()


STOPPED_BY_REQUEST = NoMoreTrials(reason=STOPPED)


@pytest.mark.parametrize(
    ("last", "state", "words"),
    [
        ([ended()], "ended", "has ended"),
        ([STOPPED_BY_REQUEST, ended()], "stopped", "has ended as requested"),
        ([ended("KILLED")], "interrupted", "was interrupted"),
        ([ended("FAILED")], "failed", "has failed"),
        ([], "died", f"has died: its process is gone and could not report its end {PROCESS}"),
    ],
    ids=["ended", "stopped", "interrupted", "failed", "died"],
)
def test_a_search_that_is_not_running(tmp_path, last, state, words):
    journaled(tmp_path, started(**HERE), *trial(0), *last)
    found = WatchedSearch(tmp_path)
    assert (found.state, found.state_words, found.is_running) == (state, words, False)
    assert found.seconds_left is None


def test_a_running_search(tmp_path, writing, monkeypatch):
    monkeypatch.setattr("time.time", lambda: started().time + 40)
    writing(started(info={"workers": 2, "epochs": 9}, **HERE), *trial(0), *trial(1, status=None))
    found = WatchedSearch(tmp_path)
    assert (found.state, found.seconds) == ("running", 40)
    assert found.seconds_left == pytest.approx(7 * 5 / 2)  # Of 9 trials, by two workers.
    assert found.lines()[:4] == [
        f"search      {tmp_path} is running {PROCESS}",
        "trials      2 of at most 9: 1 complete, 1 running",
        "best        val_loss 0.6667 with none, rate 0 (trial 0)",
        "time        40s, about 18s left",
    ]
    (now,) = found.lines()[4:]
    assert now.startswith("now         trial 1  recurrent, rate 0.1  epoch 3/9  loss 0.3333")
    writing(EpochEnded(trial_id="1", epoch=3, metrics={"loss": float("nan")}, seconds=1.0))
    data = json.loads(json.dumps(WatchedSearch(tmp_path).to_dict(), allow_nan=False))
    assert data["state"] == "running"
    assert data["trials"] == {"COMPLETE": 1, "RUNNING": 1}
    assert data["best"]["hyperparameters"] == {"wrapper": "none", "rate": 0.0}
    assert data["best"]["score"] == pytest.approx(2 / 3)
    (running,) = data["running"]
    assert (running["number"], running["epoch"], running["metrics"]) == (1, 3, {"loss": None})


def test_a_search_that_was_asked_to_stop(tmp_path, writing, monkeypatch):
    monkeypatch.setattr("time.time", lambda: started().time + 12)
    writing(started(**HERE), *trial(0), *trial(1, status=None))
    assert WatchedSearch(tmp_path).seconds_left == pytest.approx(4 + 7 * 5)
    ask_to_stop(tmp_path)
    found = WatchedSearch(tmp_path)
    assert found.state == "stopping"
    assert found.seconds_left == pytest.approx(4)
    writing(STOPPED_BY_REQUEST)
    (tmp_path / "stop-requested").unlink()
    found = WatchedSearch(tmp_path)
    assert found.state == "stopping"
    assert "            Stopped by request after 2 of at most 9 trials." in found.lines()


def test_the_trials_of_a_process_that_is_gone_do_not_run(tmp_path):
    interrupted = TrialEnded(trial_id="2", status="INTERRUPTED")
    running = (*trial(1, status=None), *trial(2, status=None))
    journaled(tmp_path, started(**HERE), *running, interrupted)
    found = WatchedSearch(tmp_path)
    assert found.counts() == {"INTERRUPTED": 2}
    assert found.to_dict()["running"] == []
    assert "best        no trial is complete" in found.lines()


def test_a_search_on_another_machine(tmp_path):
    """Its lock is not visible here."""
    journaled(tmp_path, started(pid=7, host="elsewhere"), *trial(0, status=None))
    words = "may have died: this cannot be seen from here (process 7 on elsewhere)"
    assert WatchedSearch(tmp_path).state_words == words


def test_the_end_is_seen_while_the_journal_stays_open(tmp_path, writing):
    """As while the search still writes to MLflow."""
    writing(started(**HERE), *trial(0), confirmation(0), ended())
    found = WatchedSearch(tmp_path)
    assert (found.state, found.is_running) == ("ended", False)


def test_nothing_is_written(tmp_path, writing):
    writing(started(), *trial(0))
    before = os.stat(tmp_path).st_mtime_ns, os.listdir(tmp_path)
    assert WatchedSearch(tmp_path).counts() == {"COMPLETE": 1}
    assert (os.stat(tmp_path).st_mtime_ns, os.listdir(tmp_path)) == before
