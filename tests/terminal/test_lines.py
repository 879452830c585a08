"""The lines that are printed while a search runs."""

import io

import pytest
from rich.console import Console

from recdrop_tune.events import TrialEnded, TrialStarted
from recdrop_tune.terminal import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1s"), (59, "59s"), (130, "2m10s"), (11100, "3h05m")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_progress_leaves_out_what_is_the_same_in_every_trial():
    values = {"wrapper": "none", "units": 64, "cell": "lstm"}
    console = Console(file=io.StringIO(), width=200)
    progress = Progress(console)
    progress.on_event(TrialStarted(trial_id="0", number=0, hyperparameters=values, fixed=["cell"]))
    progress.on_event(TrialEnded(trial_id="0", status="COMPLETE", score=0.5))
    line = console.file.getvalue()
    assert "wrapper=none units=64" in line
    assert "cell" not in line


def test_layers_with_names_are_told_apart():
    values = {"enc/wrapper": "recurrent", "enc/placement": "input", "enc/rate": 0.3}
    values |= {"dec/wrapper": "none", "dec/placement": None, "dec/rate": None, "units": 8}
    started = TrialStarted(trial_id="0", number=0, hyperparameters=values)
    console = Console(file=io.StringIO(), width=200)
    progress = Progress(console)
    progress.on_event(started)
    progress.on_event(TrialEnded(trial_id="0", status="COMPLETE", score=0.5))
    assert "(best 0.5000: enc recurrent, input, rate 0.3; dec none)" in console.file.getvalue()
