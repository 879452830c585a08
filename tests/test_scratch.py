"""Scratch folders: gone with their process, whatever ends it, and never somebody else's."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recdrop_tune.scratch import IN_USE, ScratchFolder, remove_abandoned
from tests import ROOT

PREFIX = "recdrop-test-"

HOLDING = """
import subprocess, sys
from pathlib import Path
from recdrop_tune.scratch import ScratchFolder
folder = ScratchFolder("recdrop-test-", Path(sys.argv[1]))
(folder.path / "weights").write_text("some")
if "child" in sys.argv:
    subprocess.Popen(
        [sys.executable, "-c", "input()"], stdout=subprocess.DEVNULL, pass_fds=(folder.lock,)
    )
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holding(tmp_path):
    """Starts processes that have a scratch folder each; they end with the test."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDING, str(tmp_path), *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in started:
        process.stdin.close()  # Its child reads from there too.
        process.kill()
        process.wait()
        process.stdout.close()


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_the_next_start_removes_what_a_killed_process_left(tmp_path, holding):
    (killed, left), (_, kept) = holding(), holding()
    kill(killed)
    assert left.exists()
    with ScratchFolder(PREFIX, tmp_path) as folder:
        assert not left.exists()
        assert (kept / "weights").read_text() == "some"
        assert folder.path.is_dir()
    assert not folder.path.exists()


def test_a_child_that_lives_on_keeps_the_folder(tmp_path, holding):
    process, left = holding("child")
    kill(process)
    remove_abandoned(PREFIX, tmp_path)
    assert left.exists()


def test_what_is_not_ours_stays(tmp_path, holding):
    process, left = holding()
    kill(process)
    elsewhere = left.rename(tmp_path / "elsewhere")
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    (tmp_path / f"{PREFIX}file").touch()
    mine = tmp_path / f"{PREFIX}mine"
    mine.mkdir()
    os.utime(mine, (0, 0))
    machine = tmp_path / f"{PREFIX}machine"
    machine.mkdir()
    (machine / IN_USE).write_text("1 another-machine")
    linked = tmp_path / f"{PREFIX}linked"
    linked.mkdir()
    (linked / IN_USE).symlink_to(elsewhere / IN_USE)
    before = sorted(tmp_path.rglob("*"))
    remove_abandoned(PREFIX, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_without_a_mark_is_removed_where_its_age_tells(tmp_path):
    old, recent = tmp_path / f"{PREFIX}old", tmp_path / f"{PREFIX}recent"
    old.mkdir()
    recent.mkdir()
    os.utime(old, (0, 0))
    remove_abandoned(PREFIX, tmp_path, unmarked=600)
    assert not old.exists()
    assert recent.exists()


def test_there_is_nothing_to_remove_where_there_is_no_folder(tmp_path):
    remove_abandoned(PREFIX, tmp_path / "none")
