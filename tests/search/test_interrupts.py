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


@contextlib.contextmanager
def turned():
    """Turns a Ctrl-C into another error, as TensorFlow does where it traces a function."""
    try:
        yield
    except KeyboardInterrupt:
        raise AttributeError("'NoneType' object has no attribute '_type_spec'") from None


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("confirms", [False, True])
@pytest.mark.parametrize("lost", [lambda: contextlib.suppress(KeyboardInterrupt), turned])
def test_a_ctrl_c_that_is_lost_ends_a_search(lost, confirms, tmp_path):
    """Python loses one in a destructor. Training runs many destructors."""
    trainings = 0

    class Presses(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            nonlocal trainings
            trainings += 1

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1 and trainings > 2 * confirms:
                with lost():
                    signal.raise_signal(signal.SIGINT)

    settings = {"confirm": 2} if confirms else {}
    training = rdt.Training(callbacks=Presses())
    with hearing_ctrl_c():
        with pytest.raises(KeyboardInterrupt):
            tuned(tmp_path / "p", None, training=training, epochs=3, **settings)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    result = rdt.TuneResult.load(tmp_path / "p")
    states = ["COMPLETE"] * 2 if confirms else ["INTERRUPTED"]
    assert list(result.trials["state"]) == states
    assert all(each.score is not None for each in result.records.confirmations)
