"""How a search stands, read from its journal while another process writes it, or after that."""

import json
import os
import socket

import pytest

from recdrop_tune.events import EXHAUSTED, STOPPED, EpochEnded, NoMoreTrials, TrialEnded
from recdrop_tune.journal import Journal
from recdrop_tune.stopping import ask_to_stop
from recdrop_tune.terminal import Watched
from tests.tracked_events import confirmation, ended, journaled, started, trial

HERE = {"pid": os.getpid(), "host": socket.gethostname()}


def watched(folder):
    found = Watched(folder)
    found.look()
    return found


@pytest.fixture
def writing(tmp_path):
    """Writes events to a journal that stays open, as that of a search that is running."""
    journal = Journal(tmp_path / "events.jsonl")

    def write(*events):
        for event in events:
            journal.on_event(event)

    yield write
    journal.close()


@pytest.mark.parametrize(
    ("last", "state", "words"),
    [
        ([ended()], "ended", "has ended"),
        ([NoMoreTrials(reason=STOPPED), ended()], "stopped", "has ended as requested"),
        (
            [NoMoreTrials(reason=EXHAUSTED, configurations=2, tried=2), ended()],
            "ended",
            "has ended",
        ),
        ([ended("KILLED")], "interrupted", "was interrupted"),
        ([ended("FAILED")], "failed", "has failed"),
        (
            [],
            "died",
            f"has died: its process is gone and could not report its end (process {os.getpid()} on "
            f"{socket.gethostname()})",
        ),
    ],
    ids=["ended", "stopped", "exhausted", "interrupted", "failed", "died"],
)
def test_a_search_that_is_not_running(tmp_path, last, state, words):
    journaled(tmp_path, started(**HERE), *trial(0), *last)
    found = watched(tmp_path)
    assert (found.state, found.state_words, found.is_running) == (state, words, False)
    assert found.seconds_left is None


def test_a_system_without_locks(tmp_path, writing, monkeypatch):
    """As on Windows."""
    monkeypatch.setattr("recdrop_tune.journal.fcntl", None)
    writing(started(**HERE), *trial(0, status=None))
    found = watched(tmp_path)
    assert found.state == "unknown"
    assert found.state_words.startswith("may be running, or have died: this system has no locks")
    writing(ended())
    assert watched(tmp_path).state == "ended"


def test_a_search_that_is_running(tmp_path, writing, monkeypatch):
    monkeypatch.setattr("time.time", lambda: started().time + 40)
    writing(started(info={"workers": 2, "epochs": 9}, **HERE), *trial(0), *trial(1, status=None))
    found = watched(tmp_path)
    assert found.state == "running"
    assert found.counts() == {"COMPLETE": 1, "RUNNING": 1}
    assert found.seconds == 40
    assert found.seconds_left == pytest.approx(7 * 5 / 2)  # Of 9 trials, by two workers.
    search, trials, best, time, now = found.lines()
    assert search == (
        f"search      {tmp_path} is running (process {os.getpid()} on {socket.gethostname()})"
    )
    assert trials == "trials      2 of at most 9: 1 complete, 1 running"
    assert best == "best        val_loss 0.6667 with wrapper=none rate=0 (trial 1)"
    assert time == "time        40s, about 18s left"
    assert now.startswith("now         trial 2  wrapper=recurrent rate=0.1  epoch 3/9  loss 0.3333")


def test_what_it_says_as_data(tmp_path, writing):
    nan = EpochEnded(trial_id="1", epoch=3, metrics={"loss": float("nan")}, seconds=1.0)
    writing(started(**HERE), *trial(0), *trial(1, status=None), nan)
    found = json.loads(json.dumps(watched(tmp_path).to_dict(), allow_nan=False))
    assert found["state"] == "running"
    assert found["trials"] == {"COMPLETE": 1, "RUNNING": 1}
    assert found["best"]["hyperparameters"] == {"wrapper": "none", "rate": 0.0}
    assert found["best"]["score"] == pytest.approx(2 / 3)
    (under_way,) = found["running"]
    assert (under_way["number"], under_way["epoch"], under_way["metrics"]) == (1, 3, {"loss": None})


def test_a_search_that_was_asked_to_stop(tmp_path, writing, monkeypatch):
    monkeypatch.setattr("time.time", lambda: started().time + 12)
    writing(started(**HERE), *trial(0), *trial(1, status=None))
    found = watched(tmp_path)
    assert found.seconds_left == pytest.approx(4 + 7 * 5)
    ask_to_stop(tmp_path)
    assert found.state == "stopping"
    assert found.seconds_left == pytest.approx(4)
    writing(NoMoreTrials(reason=STOPPED))
    (tmp_path / "stop-requested").unlink()
    assert len(found.look()) == 1
    assert found.state == "stopping"


def test_the_trials_of_a_process_that_is_gone_do_not_run(tmp_path):
    interrupted = TrialEnded(trial_id="2", status="INTERRUPTED")
    journaled(
        tmp_path, started(**HERE), *trial(1, status=None), *trial(2, status=None), interrupted
    )
    found = watched(tmp_path)
    assert found.counts() == {"INTERRUPTED": 1, "KILLED": 1}
    assert found.to_dict()["running"] == []
    assert "best        no trial is complete" in found.lines()


def test_a_search_on_another_machine(tmp_path):
    """Its lock may not be seen from here."""
    journaled(tmp_path, started(pid=7, host="elsewhere"), *trial(0, status=None))
    found = watched(tmp_path)
    assert found.may_run_elsewhere
    assert found.state_words == (
        "may have died: this cannot be seen from here (process 7 on elsewhere)"
    )


def test_the_end_is_seen_though_the_journal_stays_open(tmp_path, writing):
    """As while MLflow is still being written to."""
    writing(started(**HERE), *trial(0), confirmation(0), ended())
    found = watched(tmp_path)
    assert (found.state, found.is_running) == ("ended", False)


def test_events_are_followed_and_nothing_is_written(tmp_path, writing):
    writing(started(), *trial(0))
    before = os.stat(tmp_path).st_mtime_ns, os.listdir(tmp_path)
    found = watched(tmp_path)
    assert len(found.history) == len(trial(0)) + 1
    writing(*trial(1))
    assert len(found.look()) == len(trial(1))
    assert found.look() == []
    assert found.counts() == {"COMPLETE": 2}
    assert (os.stat(tmp_path).st_mtime_ns, os.listdir(tmp_path)) == before
