"""`recdrop-tune status`, `top` and `stop`, on searches of other processes."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from recdrop_tune.cli import main
from recdrop_tune.journal import Journal
from recdrop_tune.stopping import forget_stop, is_asked_to_stop
from tests import ROOT
from tests.forks import hearing_ctrl_c
from tests.pseudo_terminal import Terminal
from tests.tracked_events import ended, journaled, started, trial


def called(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


SEARCH = """
import os, signal, socket, sys, time
from recdrop_tune.events import SearchStarted, TrialStarted
from recdrop_tune.journal import Journal
signal.signal(signal.SIGINT, getattr(signal, sys.argv[2]))
journal = Journal(sys.argv[1] + "/events.jsonl")
here = {"pid": os.getpid(), "host": socket.gethostname()}
names = dict.fromkeys(("search_id", "name", "experiment", "tuner"), "speech")
goal = {"objective": "val_loss", "direction": "min"}
journal.on_event(SearchStarted(max_trials=9, **names, **goal, **here))
journal.on_event(TrialStarted(trial_id="0", number=0, hyperparameters={"wrapper": "none"}))
print("running", flush=True)
time.sleep(100)
"""
"""Something that has the journal of a search open, and heeds Ctrl-C or does not."""


@pytest.fixture(params=["default_int_handler"])
def search(request, tmp_path):
    """A process with a search in `tmp_path`."""
    with hearing_ctrl_c():
        process = subprocess.Popen(
            [sys.executable, "-c", SEARCH, str(tmp_path), request.param],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    with process:
        assert process.stdout.readline() == "running\n"
        yield process
        process.kill()


@pytest.fixture
def writing(tmp_path):
    """Writes events to a journal that stays open, like that of a running search."""
    with contextlib.closing(Journal(tmp_path / "events.jsonl")) as journal:
        yield lambda *events: [journal.on_event(event) for event in events]


def test_how_it_stands(search, tmp_path):
    done = called("status", tmp_path)
    assert done.exit_code == 0, done.output
    where = f"(process {search.pid} on {socket.gethostname()})"
    assert done.output.startswith(f"search      {tmp_path} is running {where}\n")
    found = json.loads(called("status", tmp_path, "--json").output)
    assert (found["state"], found["pid"]) == ("running", search.pid)
    assert found["trials"] == {"RUNNING": 1}
    search.kill()
    search.wait()
    assert json.loads(called("status", tmp_path, "--json").output)["state"] == "died"


def test_the_newest_search_is_meant_if_none_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("old", "new")):
        journaled(Path("recdrop_runs", name), started(), *trial(0), ended())
        os.utime(Path("recdrop_runs", name, "events.jsonl"), (number, number))
    for command in ("status", "top"):
        assert called(command).output.startswith("search      recdrop_runs/new has ended")
    done = called("stop")
    words = "Error: There is no search to stop in recdrop_runs/new: it has ended.\n"
    assert (done.exit_code, done.output) == (1, words)
    assert not is_asked_to_stop("recdrop_runs/new")


def test_names_reach_the_terminal_as_plain_text(tmp_path):
    first, *others = trial(0)
    first.hyperparameters.update(wrapper="\x1b[2J", placement="x\nforged")
    journaled(tmp_path, started(pid=1, host="here\nforged"), first, *others)
    for command in ("status", "stop"):
        output = called(command, tmp_path).output
        assert "here forged" in output
        assert "\x1b" not in output
        assert "\nforged" not in output
    assert r"wrapper=\x1b[2J" in called("status", tmp_path).output
    forget_stop(tmp_path)


def test_it_is_asked_to_end(search, tmp_path):
    done = called("stop", tmp_path)
    assert done.output == f"{tmp_path}: the search was asked to end after trial 0.\n"
    assert is_asked_to_stop(tmp_path)
    assert not is_asked_to_stop(tmp_path, now=True)
    assert search.poll() is None
    assert "is running, and ends as requested after" in called("status", tmp_path).output


def test_it_is_ended_by_ctrl_c(search, tmp_path):
    done = called("stop", tmp_path, "--now")
    assert done.output == f"{tmp_path}: Ctrl-C was sent to process {search.pid}.\n"
    assert search.wait(10) == -signal.SIGINT
    # A search that runs in another thread finds this; one that ends, or begins, takes it away.
    assert is_asked_to_stop(tmp_path, now=True)


def test_a_process_that_does_not_write_the_journal_gets_no_signal(tmp_path, writing):
    """A stranger's journal may name any: the one that holds it open is another one."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        writing(started(pid=other.pid, host=socket.gethostname()))
        done = called("stop", tmp_path, "--now")
        assert "was asked to end with its next epoch." in done.output, done.output
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("search", ["SIG_IGN"], indirect=True)
def test_a_process_that_ignores_ctrl_c_finds_a_request(search, tmp_path):
    done = called("stop", tmp_path, "--now")
    assert done.output == f"{tmp_path}: the search was asked to end with its next epoch.\n"
    assert is_asked_to_stop(tmp_path, now=True)
    assert search.poll() is None


@pytest.mark.parametrize("now", [[], ["--now"]])
def test_a_search_on_another_machine(tmp_path, now):
    """No process here gets a signal, whatever number the journal names."""
    journaled(tmp_path, started(pid=os.getpid(), host="elsewhere"), *trial(0, status=None))
    done = called("stop", tmp_path, *now)
    assert done.exit_code == 0, done.output
    assert done.output.endswith(
        " Whether it is still running on elsewhere cannot be seen from here.\n"
    )
    assert is_asked_to_stop(tmp_path, now=bool(now))
    forget_stop(tmp_path)


def test_a_search_that_has_died_here_is_not_asked(tmp_path):
    journaled(tmp_path, started(pid=os.getpid(), host=socket.gethostname()), *trial(0, status=None))
    done = called("stop", tmp_path, "--now")
    assert (done.exit_code, "it has died" in done.output) == (1, True)
    assert not is_asked_to_stop(tmp_path)


def test_it_is_followed_to_its_end(tmp_path, writing):
    writing(started(), *trial(0))
    rest = threading.Timer(1.0, writing, (*trial(1), ended()))
    rest.start()
    line, *status = called("top", tmp_path).output.splitlines()
    rest.join()
    assert line.startswith("trial 1 (2 of 9)  val_loss 0.6767 (best 0.6667: none")
    assert status[0] == f"search      {tmp_path} has ended"


def test_on_a_terminal_ctrl_c_ends_the_display_alone(search, tmp_path):
    code = f"from recdrop_tune.cli import main; main(['top', {str(tmp_path)!r}])"
    with Terminal(code, tmp_path, PYTHONPATH=str(ROOT)) as terminal:
        terminal.wait_for(lambda lines: any("│ now trial 0" in line for line in lines), 30)
        terminal.press(b"\x03")
        lines = terminal.rest()
    assert terminal.process.returncode == 0, lines
    assert not any(line.startswith(("╭", "│", "╰", "Traceback")) for line in lines)
    assert search.poll() is None
