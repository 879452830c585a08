"""`recdrop-tune status` and `stop`, on searches of other processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from recdrop_tune.files import forget_stop, is_asked_to_stop
from tests import ROOT
from tests.commands import output_of, refusal_of
from tests.tracked_events import ended, journaled, started, trial

SEARCH = """
import os, socket, sys, time
from recdrop_tune.events import SearchStarted, TrialStarted
from recdrop_tune.journal import Journal
journal = Journal(sys.argv[1] + "/events.jsonl")
here = {"pid": os.getpid(), "host": socket.gethostname()}
names = dict.fromkeys(("search_id", "name", "experiment", "tuner"), "speech")
goal = {"objective": "val_loss", "direction": "min"}
journal.on_event(SearchStarted(max_trials=9, **names, **goal, **here))
journal.on_event(TrialStarted(trial_id="0", number=0, hyperparameters={"wrapper": "none"}))
print("running", flush=True)
time.sleep(100)
"""
"""Something that has the journal of a search open."""


@pytest.fixture
def search(tmp_path):
    """A process with a search in `tmp_path`."""
    with subprocess.Popen(
        [sys.executable, "-c", SEARCH, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout.readline() == "running\n"
        yield process
        process.kill()


def test_how_it_stands(search, tmp_path):
    where = f"(process {search.pid} on {socket.gethostname()})"
    assert output_of("status", tmp_path).startswith(f"search      {tmp_path} is running {where}\n")
    found = json.loads(output_of("status", tmp_path, "--json"))
    assert (found["state"], found["pid"]) == ("running", search.pid)
    assert found["trials"] == {"RUNNING": 1}
    search.kill()
    search.wait()
    assert json.loads(output_of("status", tmp_path, "--json"))["state"] == "died"


def test_the_newest_search_is_meant_if_none_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("old", "new")):
        journaled(Path("recdrop_runs", name), started(), *trial(0), ended())
        os.utime(Path("recdrop_runs", name, "events.jsonl"), (number, number))
    assert output_of("status").startswith("search      recdrop_runs/new has ended")
    words = "Error: There is no search to stop in recdrop_runs/new: it has ended.\n"
    assert refusal_of("stop") == words
    assert not is_asked_to_stop("recdrop_runs/new")


def test_names_reach_the_terminal_as_plain_text(tmp_path):
    first, *others = trial(0)
    first.hyperparameters.update(wrapper="\x1b[2J", placement="x\nforged")
    journaled(tmp_path, started(pid=1, host="here\nforged"), first, *others)
    for command in ("status", "stop"):
        output = output_of(command, tmp_path)
        assert "here forged" in output
        assert "\x1b" not in output
        assert "\nforged" not in output
    assert r"with \x1b[2J" in output_of("status", tmp_path)
    # Whether it runs on that machine cannot be seen.
    assert is_asked_to_stop(tmp_path)
    forget_stop(tmp_path)


def test_it_is_asked_to_end(search, tmp_path):
    output = output_of("stop", tmp_path)
    assert output == f"{tmp_path}: the search was asked to end after trial 0.\n"
    assert is_asked_to_stop(tmp_path)
    assert search.poll() is None
    assert "is running, and ends as requested after" in output_of("status", tmp_path)


def test_a_search_that_has_died_here_is_not_asked(tmp_path):
    journaled(tmp_path, started(pid=os.getpid(), host=socket.gethostname()), *trial(0, status=None))
    assert "it has died" in refusal_of("stop", tmp_path)
    assert not is_asked_to_stop(tmp_path)
