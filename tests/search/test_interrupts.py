"""Signals that come while a search ends, or to processes that it has forked; see `tests.interrupted`."""

import contextlib
import json
import signal
import subprocess
import sys

import keras
import pytest

import recdrop_tune as rdt
from recdrop_tune.events import ResultSaved, SearchEnded, TrialEnded, TrialStarted
from recdrop_tune.search.interrupts import Interrupts
from tests.forks import ROOT, hearing_ctrl_c
from tests.small_search import tuned


def test_a_search_ends_by_a_signal():
    # As if the tests themselves ran under `nohup`.
    command = ["nohup", sys.executable, "-m", "tests.interrupted"]
    with hearing_ctrl_c():
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    closed, _, ends = done.stdout.rpartition("closed ")
    assert closed == "closed "  # Both times, despite the signals in between.
    expected = {"once": -15, "after_ctrl_c": -15, "without_a_terminal": -1, "fork_of_a_search": 0}
    assert json.loads(ends) == expected


@pytest.mark.parametrize("pressed", [True, False])
def test_a_ctrl_c_that_an_error_replaces(pressed):
    """pybind11 does so if it comes while an exception of TensorFlow is being made."""
    with hearing_ctrl_c(), Interrupts() as interrupts:
        if pressed:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        expected = KeyboardInterrupt if pressed else RuntimeError
        with pytest.raises(expected) as raised, interrupts.reraise_lost():
            raise RuntimeError("REPLACED BY KeyboardInterrupt")
        assert pressed == isinstance(raised.value.__cause__, RuntimeError)
        interrupts.on_event(TrialStarted(trial_id="1", number=0, hyperparameters={}))  # Once.


@pytest.mark.parametrize("presses", [1, 2])
def test_a_second_ctrl_c_that_was_lost(presses):
    """The first one ends the search. Pressed once, it does not interrupt the saving of the result."""
    saved = ResultSaved(files=[], summary="", best_trial_id="0")
    broken = TrialEnded(trial_id="1", status="INTERRUPTED")
    with hearing_ctrl_c(), Interrupts() as interrupts:
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


@pytest.mark.usefixtures("eagerly")
def test_a_ctrl_c_that_is_lost_ends_a_search(tmp_path):
    """Python loses one in a destructor. Training runs many destructors."""

    class Presses(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                with contextlib.suppress(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGINT)

    training = rdt.Training(callbacks=Presses())
    with hearing_ctrl_c():
        with pytest.raises(KeyboardInterrupt):
            tuned(tmp_path / "p", None, training=training, epochs=3)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert list(rdt.TuneResult.load(tmp_path / "p").trials["state"]) == ["INTERRUPTED"]
