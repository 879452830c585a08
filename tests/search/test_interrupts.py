"""Signals that come while a search runs or ends, or to processes that it has forked."""

import contextlib
import json
import signal
import subprocess
import sys

import keras
import pytest

import recdrop_tune as rdt
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
    assert json.loads(ends) == {
        "once": -15,
        "after_ctrl_c": -15,
        "without_a_terminal": -1,
        "fork_of_a_search": 0,
        "in_tensorflow": -15,
    }


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
