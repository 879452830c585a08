"""Signals that come while a search ends, or to processes that it has forked; see `tests.interrupted`."""

import json
import subprocess
import sys

from tests.forks import ROOT, hearing_ctrl_c


def test_a_search_that_is_told_to_end():
    command = [sys.executable, "-m", "tests.interrupted"]
    with hearing_ctrl_c():
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    closed, _, ends = done.stdout.rpartition("closed ")
    assert closed == "closed "  # Both times, whatever came meanwhile.
    assert json.loads(ends) == {
        "once": -15,
        "after_ctrl_c": -15,
        "without_a_terminal": -1,
        "fork_of_a_search": 0,
    }
