"""Signals that come while a search ends, or to processes that it has forked; see `tests.interrupted`."""

import contextlib
import json
import signal
import subprocess
import sys

import pytest

from recdrop_tune.events import ResultSaved, SearchEnded, TrialEnded, TrialStarted
from recdrop_tune.search.interrupts import Interrupts
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


@pytest.mark.parametrize("pressed", [True, False])
def test_a_ctrl_c_that_an_error_takes_the_place_of(pressed):
    """As pybind11 does, where it comes while an exception of TensorFlow's is being made."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Interrupts() as interrupts:
            if pressed:
                with contextlib.suppress(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGINT)
            expected = KeyboardInterrupt if pressed else RuntimeError
            with pytest.raises(expected) as raised, interrupts.kept():
                raise RuntimeError("REPLACED BY KeyboardInterrupt")
            assert pressed == isinstance(raised.value.__cause__, RuntimeError)
            interrupts.on_event(TrialStarted(trial_id="1", number=0, hyperparameters={}))  # Once.
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("presses", [1, 2])
def test_a_second_ctrl_c_that_was_lost(presses):
    """The first one, which ends the search, may have been pressed twice: what it saves is not broken off."""
    saved = ResultSaved(files=[], summary="", best_trial_id="0")
    broken = TrialEnded(trial_id="1", status="INTERRUPTED")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Interrupts() as interrupts:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            interrupts.on_event(broken)
            if presses == 1:
                interrupts.on_event(saved)
                return
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                interrupts.on_event(saved)
            interrupts.on_event(SearchEnded(status="KILLED"))
    finally:
        signal.signal(signal.SIGINT, before)
