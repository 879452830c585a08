"""The display of a running search, and the line for each trial."""

import io
import os
import signal
import sys
import time
from dataclasses import replace

import pytest
from rich.console import Console
from rich.text import Text

from recdrop_tune.events import (
    CONVERGED,
    MAX_TRIALS,
    TIMEOUT,
    ConfirmationEnded,
    ConfirmationStarted,
    EpochEnded,
    NoMoreTrials,
    SearchEnded,
    SearchStarted,
    TrialEnded,
    TrialStarted,
    WorkerLost,
)
from recdrop_tune.records import Records
from recdrop_tune.terminal.displays import LiveDisplay, Progress, Terminal, live_display
from tests import ROOT
from tests.pseudo_terminal import Terminal as PseudoTerminal
from tests.tracked_events import events_of

ABOUT = {"search_id": "a", "name": "n", "experiment": "speech", "tuner": "t", "max_trials": 20}


def started(direction="min", info=None, time=0.0, **more):
    about = {**ABOUT, "objective": "val_loss", "direction": direction, **more}
    return SearchStarted(**about, info=info or {"epochs": 30}, time=time)


def trial(number, time=0.0, **values):
    return TrialStarted(trial_id=str(number), number=number, hyperparameters=values, time=time)


def ended(number, time=9.0, status="COMPLETE", score=None):
    return TrialEnded(trial_id=str(number), status=status, score=score, time=time)


def epoch(number, epoch, execution=0, **metrics):
    about = {"epoch": epoch, "metrics": metrics, "seconds": 1.0, "execution": execution}
    return EpochEnded(trial_id=str(number), **about)


def confirmed(number, repeat, score=0.5, **more):
    about = {"seconds": 10.0, "time": 20.0, **more}
    return ConfirmationEnded(trial_id=str(number), repeat=repeat, seed=1, score=score, **about)


DROPPED = {"wrapper": "recurrent", "placement": "input+recurrent", "rate": 0.3}
PLAIN = {"wrapper": "none"}
FIRST = (started(), trial(0, **PLAIN), ended(0, score=0.5))
TWO = (*FIRST, trial(1, **DROPPED), ended(1, 19.0, score=0.25))
CONFIRMING = ConfirmationStarted(configurations=["0", "1"], seeds=2, max_seeds=4)
DONE = [confirmed(number, repeat) for number in (0, 1) for repeat in (0, 1)]


def drawn(*events, workers=1, width=120):
    """Returns what the live display shows after some events."""
    display = LiveDisplay(Records(events), workers)
    out = io.StringIO()
    Console(file=out, width=width).print(display.draw())
    return out.getvalue()


def printed(*events, **options):
    """Returns the lines that `Progress` prints for the last event."""
    out = io.StringIO()
    progress = Progress(Console(file=out, width=200), **options)
    for event in events:
        before = len(out.getvalue())
        progress.on_event(event)
    return out.getvalue()[before:].splitlines()


def test_what_is_shown(monkeypatch):
    assert drawn().strip() == ""
    monkeypatch.setattr("time.time", lambda: 250.0)
    text = drawn(
        started(),
        trial(0, 0.0, **PLAIN),
        ended(0, 100.0, score=0.5),
        trial(1, 100.0, **DROPPED),
        ended(1, 180.0, score=0.375),
        trial(2, 180.0, wrapper="zoneout", rate=0.2),
        ended(2, 240.0, status="PRUNED"),
        trial(3, 240.0, **PLAIN),
        epoch(3, 11, loss=0.25, val_loss=0.75, accuracy=0.9),
    )
    lines = [line.strip("│ \n") for line in text.splitlines()]
    assert "speech" in lines[0]
    # A trial takes 80 s on average: 70 s of this one, and 16 more.
    assert lines[1].startswith("4 of 20 trials")
    assert lines[1].split()[-6:] == ["2", "complete", "1", "pruned", "22m30s", "left"]
    assert lines[2] == "best val_loss 0.3750  recurrent, input+recurrent, rate 0.3  trial 1"
    assert lines[3] == "gain 0.1250 over the same without dropout, so far"
    assert lines[4] == "now  trial 3  none  epoch 12/30  loss 0.2500  val_loss 0.7500"


def test_a_search_that_ends_by_itself_shows_no_total_and_why_it_ended():
    own = started("max", max_trials=None), *FIRST[1:]
    assert "1 trials" in drawn(*own)
    assert "left" not in drawn(*own)
    assert printed(*own) == ["trial 0  none  val_loss 0.5000  best so far  9.0 s"]
    gains = {
        0.02: "pay: five are expected to gain more",
        0.005: "hardly pay: five are expected to gain less",
    }
    for gain, words in gains.items():
        (line,) = printed(*own, NoMoreTrials(reason=CONVERGED, gain=gain))
        assert (
            line == f"Ended by itself after 1 trials. More trials {words} than 1 % of 1 - val_loss."
        )
    (line,) = printed(*own, NoMoreTrials(reason=TIMEOUT))
    assert line == "The time was over after 1 trials."
    assert printed(*own, NoMoreTrials(reason=MAX_TRIALS)) == []


RUNNING = (started(), trial(0, **DROPPED), epoch(0, 1, loss=1.0))


@pytest.mark.parametrize(
    ("events", "shown", "hidden"),
    [
        # The trials of a search that was killed do not run.
        ((*RUNNING, SearchEnded(status="KILLED")), "1 of 20 trials", "now"),
        ((*RUNNING, started(), trial(0, **DROPPED)), "now trial 0", "best"),
        ((started(), trial(0, wrapper="[red]none")), "trial 0 [red]none", "best"),
        ((*FIRST, CONFIRMING, confirmed(0, 0)), "30s left", "40s"),
    ],
)
def test_rows(events, shown, hidden):
    text = " ".join(drawn(*events).replace("│", " ").split())
    assert shown in text
    assert hidden not in text


def test_a_confirmation_counts_what_belongs_to_it():
    """A failed training counts until the search resumes; a repeated one, one of another configuration or one
    of more seeds never does."""
    earlier = [confirmed(0, 0), confirmed(1, 0, score=None), confirmed(2, 0)]
    assert "confirming 2/4" in drawn(started(), CONFIRMING, *earlier)
    assert "confirming 1/4" in drawn(started(), *earlier, started(), CONFIRMING)
    resumed = [*earlier, started(), CONFIRMING, confirmed(1, 0), confirmed(1, 1)]
    assert "confirming 3/4" in drawn(started(), *resumed)
    second_round = replace(CONFIRMING, configurations=["1"], seeds=4)
    assert "confirming 5/6" in drawn(started(), CONFIRMING, *DONE, second_round, confirmed(1, 2))
    more_seeds = [confirmed(number, repeat) for number in (0, 1) for repeat in range(5)]
    assert "confirming 4/4" in drawn(started(), *more_seeds, CONFIRMING)


@pytest.mark.parametrize("epochs", [False, True])
def test_a_trial_that_continues_prints_only_new_epochs(epochs):
    begun = (started(), trial(0))
    old = [replace(epoch(0, number), kept=24 - number) for number in range(24)]
    assert printed(*begun, *old[:-1], epochs=epochs) == []
    assert printed(*begun, *old, epochs=epochs) == ["Trial 0 continues after epoch 24 of 30"]
    new = printed(*begun, *old, epoch(0, 24), epochs=epochs)
    assert [line.split()[:2] for line in new] == [["epoch", "25/30"]] * epochs


def test_several_workers():
    running = [trial(number, **DROPPED) for number in range(10)]
    text = drawn(started(), *running, epoch(0, 2, execution=1, loss=1.0), workers=10)
    first = "trial 0  recurrent, input+recurrent, rate 0.3  training 2 epoch 3/30"
    assert first in text
    assert text.count("building") == 7
    assert "and 2 more" in text


def test_the_time_left(monkeypatch):
    """No more time than the search has, no more trials than configurations, interrupted ones again; the
    confirmation, whose trainings take as long as a trial that was not pruned."""
    monkeypatch.setattr("time.time", lambda: 100.0)
    first = (trial(0), ended(0, 100.0, score=1.0))
    assert "1m00s left" in drawn(started(info={"timeout": 160.0}), *first)
    assert "3m20s left" in drawn(started(configurations=3), *first)
    assert "31m40s left" in drawn(started(), *first, trial(1), ended(1, 101.0, "INTERRUPTED"))
    two = (trial(0, 0.0), ended(0, 80.0, score=1.0), trial(1, 80.0), ended(1, 100.0, "PRUNED"))
    assert "39m50s left" in drawn(started(info={"confirmation": 18}, max_trials=21), *two)


def test_the_first_trial_tells_how_long_all_of_them_take():
    noon = time.mktime((2026, 9, 1, 12, 0, 0, 0, 0, -1))
    search = started(time=noon)
    first = (trial(0, noon), ended(0, noon + 60, score=0.5))
    line, forecast = printed(search, *first)
    assert line.endswith("eta 19m00s")
    assert forecast == "Going by the first trial, the search takes about 20m00s, until 12:20."
    long = (trial(0, noon), ended(0, noon + 86_400, score=0.5))
    assert printed(search, *long)[1].endswith(", until 2026-09-21 12:00.")
    interrupted = (trial(0, noon), ended(0, noon + 5, status="INTERRUPTED"))
    assert "20m05s" in printed(search, *interrupted, search, *first)[1]
    before_the_clock_was_set_back = started(time=noon + 10**7)
    assert "19m00s" in printed(before_the_clock_was_set_back, *first)[1]
    second = (trial(1, noon + 60), ended(1, noon + 80, score=0.4))
    for others in ((search, *first, *second), (replace(search, max_trials=1), *first)):
        assert len(printed(*others)) == 1


LAYERS = {"enc/wrapper": "recurrent", "enc/placement": "input", "enc/rate": 0.3}
LAYERS |= {"dec/wrapper": "none", "dec/placement": None, "dec/rate": None}
FAILED = replace(ended(1, 19.0, "FAILED"), message="ValueError: [b]no[/b]\n  at 1")


@pytest.mark.parametrize(
    ("events", "line"),
    [
        (
            TWO,
            "trial 1 (2 of 20)  recurrent, input+recurrent, rate 0.3  val_loss 0.2500  best so far  19.0 s  "
            "eta 4m12s",
        ),
        (
            (
                *FIRST,
                trial(1, **DROPPED, units=64, learning_rate=1 / 300),
                ended(1, 19.0, score=0.75),
            ),
            "trial 1 (2 of 20)  recurrent, input+recurrent, rate 0.3, …  val_loss 0.7500  "
            "best 0.5000 (trial 0)  19.0 s  eta 4m12s",
        ),
        (
            (*FIRST, trial(1), epoch(1, 0), ended(1, 19.0, "PRUNED", 0.75)),
            "trial 1 (2 of 20)  pruned after 1 epochs at val_loss 0.7500  19.0 s  eta 4m12s",
        ),
        (
            (*FIRST, trial(1), FAILED),
            "trial 1 (2 of 20)  failed: ValueError: [b]no[/b]  19.0 s  eta 4m12s",
        ),
        (
            (started(), trial(0, **LAYERS), ended(0, score=0.5)),
            "trial 0 (1 of 20)  enc recurrent, input, rate 0.3; dec none  val_loss 0.5000  best so far  "
            "9.0 s  eta 2m51s",
        ),
        (
            (*FIRST, trial(1), WorkerLost(worker="worker 2", trial_id="1", reason="out of memory")),
            "worker 2 was lost: out of memory; trial 1 is run again",
        ),
        (
            (*TWO, CONFIRMING, *DONE, replace(CONFIRMING, configurations=["1"], seeds=4)),
            "Not known yet. Confirming 1 configuration with 4 fresh seeds each: 2 more trainings.",
        ),
        (
            (*TWO, confirmed(1, 0, score=None), confirmed(0, 1), started(), CONFIRMING),
            "Confirming 2 configurations with 2 fresh seeds each: 3 more trainings, because 1 failed.",
        ),
        (
            (*TWO, CONFIRMING, confirmed(1, 0, twin=True)),
            "confirming 0/4  trial 1 seed 1  val_loss 0.5000  its twin, without recurrent, input+recurrent, "
            "rate 0.3  10.0 s",
        ),
    ],
)
def test_lines(events, line):
    assert printed(*events)[:1] == [line]


def test_a_line_for_each_epoch():
    events = (started(), trial(0, **DROPPED), epoch(0, 3, execution=1, loss=0.5))
    assert printed(*events) == []
    line = "training 2 epoch 4/30  loss 0.5000  1.0 s"
    assert printed(*events, epochs=True) == [f"  {line}"]
    assert printed(*events, epochs=True, workers=2) == [f"  trial 0 {line}"]


def test_a_reader_that_closes_the_pipe_does_not_end_the_search():
    """As with `... | head`: rich's own console ends the process."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        lines = Progress(Terminal(file=file, width=120), epochs=True)
        lines.on_event(started())
        os.close(reading)
        for number in range(3):
            lines.on_event(trial(number, **DROPPED))
            lines.on_event(epoch(number, 3, loss=0.5))


@pytest.mark.parametrize(
    ("terminal", "variables", "shown"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {"FORCE_COLOR": "1"}, False),
        (True, {"CI": "true"}, False),
    ],
)
def test_where_it_is_shown(terminal, variables, shown, monkeypatch):
    for name, value in {"TERM": "xterm", **variables}.items():
        monkeypatch.setenv(name, value)
    # With `FORCE_COLOR`, rich takes any file for a terminal.
    file = io.StringIO()
    monkeypatch.setattr(file, "isatty", lambda: terminal)
    console = Console(file=file, force_terminal=terminal or None, width=80)
    with live_display(console, Records([started()])):
        pass
    assert ("speech" in file.getvalue()) == shown
    assert bool(file.getvalue()) == shown


class Gone(io.StringIO):
    """A terminal that closes."""

    gone = False

    def isatty(self):
        return True

    def write(self, text):
        if self.gone:
            raise OSError(5, "Input/output error")
        return super().write(text)


def test_a_terminal_that_closes_does_not_end_the_search(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    file, before = Gone(), sys.stdout
    records = Records()
    with live_display(Console(file=file), records):
        records.on_event(started())
        file.gone = True
    assert sys.stdout is before


SEARCH = """
import numpy as np, keras
import recdrop_tune as rdt
class Talking(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 3:
            print("said by a callback")
x, y = np.random.default_rng(0).random((64, 5, 3)), np.arange(64) % 2
training = rdt.Training(callbacks=[Talking()])
rdt.tune((x, y), (x, y), max_trials=50, epochs=40, seed=0, directory="p", training=training)
"""


@pytest.mark.heavy
def test_a_terminal_and_its_ctrl_c(tmp_path):
    """The display stays below what is printed; Ctrl-C ends the search cleanly."""
    environment = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    with PseudoTerminal(SEARCH, tmp_path, **environment) as terminal:
        lines = terminal.wait_for(
            lambda lines: (
                any("│ 3 of 50 trials" in line for line in lines)
                and any("│ now  trial 2" in line and "/40" in line for line in lines)
            )
        )
        top = next(number for number, line in enumerate(lines) if line.startswith("╭"))
        above, below = lines[:top], lines[top:]
        assert [line.split()[1] for line in above if line.startswith("trial")] == ["0", "1"]
        assert "said by a callback" in above
        assert {line[0] for line in below[1:-1]} == {"│"}
        assert below[-1].startswith("╰")
        terminal.press(b"\x03")
        lines = terminal.rest()
    assert terminal.process.returncode == -signal.SIGINT
    assert lines[-4:-2] == ["KeyboardInterrupt", "Interrupted. Finished trials are kept in p."]
    assert lines[-2].startswith("Best so far: val_loss 0.")
    assert lines[-2].endswith(")")
    assert lines[-1] == 'To resume: run again with directory="p"'
    assert not any(line.startswith(("╭", "│", "╰")) for line in lines)
    assert [each.status for each in events_of(tmp_path / "p", SearchEnded)] == ["KILLED"]


@pytest.mark.heavy
def test_a_notebook(tmp_path, monkeypatch):
    """The output of the cell has one panel, which is drawn again, and a line for each trial."""
    import nbclient
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    code = SEARCH.replace("max_trials=50, epochs=40", "max_trials=2, epochs=5")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    client = nbclient.NotebookClient(notebook, timeout=200, kernel_name="python3")
    client.execute(cwd=os.fspath(tmp_path))
    outputs = notebook.cells[0].outputs
    raw = [output.get("text") or output["data"]["text/plain"] for output in outputs]
    texts = [Text.from_ansi(text).plain for text in raw]
    (panel,) = [text for text in texts if "recdrop-tune" in text and "2 complete" in text]
    assert "2 of 2 trials" in panel
    lines = [line for text in texts if text != panel for line in text.splitlines()]
    assert [line.split()[1] for line in lines if line.startswith("trial")] == ["0", "1"]
