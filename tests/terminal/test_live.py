"""The display of a search that is under way."""

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
    ConfirmationEnded,
    ConfirmationStarted,
    EpochEnded,
    NoMoreTrials,
    SearchEnded,
    SearchStarted,
    TrialEnded,
    TrialStarted,
)
from recdrop_tune.journal import Journal
from recdrop_tune.terminal import LiveDisplay, Progress, Terminal, live_display
from tests import ROOT
from tests.pseudo_terminal import Terminal as PseudoTerminal


def started(direction="min", info=None):
    return SearchStarted(
        search_id="a",
        name="n",
        experiment="speech",
        tuner="t",
        objective="val_loss",
        direction=direction,
        max_trials=20,
        info=info or {"epochs": 30},
        time=0.0,
    )


def trial(number, time, **values):
    return TrialStarted(trial_id=str(number), number=number, hyperparameters=values, time=time)


def ended(number, time, status="COMPLETE", score=None):
    return TrialEnded(trial_id=str(number), status=status, score=score, time=time)


def epoch(number, epoch, execution=0, **metrics):
    return EpochEnded(
        trial_id=str(number), epoch=epoch, metrics=metrics, seconds=1.0, execution=execution
    )


DROPPED = {"wrapper": "recurrent", "placement": "input+recurrent", "rate": 0.3}


def drawn(*events, workers=1, width=120):
    display = LiveDisplay(workers=workers)
    for event in events:
        display.on_event(event)
    out = io.StringIO()
    Console(file=out, width=width).print(display.draw())
    return out.getvalue()


def test_nothing_is_shown_before_the_search():
    assert drawn().strip() == ""


def test_what_is_shown(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 250.0)
    text = drawn(
        started(),
        trial(0, 0.0, wrapper="none"),
        ended(0, 100.0, score=0.5),
        trial(1, 100.0, **DROPPED),
        ended(1, 180.0, score=0.375),
        trial(2, 180.0, wrapper="zoneout", rate=0.2),
        ended(2, 240.0, status="PRUNED"),
        trial(3, 240.0, wrapper="none"),
        epoch(3, 11, loss=0.25, val_loss=0.75, accuracy=0.9),
    )
    lines = [line.strip("│ \n") for line in text.splitlines()]
    assert "speech" in lines[0]
    # A trial takes 80 s in the mean: 70 s of this one, and 16 to come.
    assert lines[1].startswith("trial 4/20")
    assert lines[1].split()[-6:] == ["2", "complete", "1", "pruned", "22m30s", "left"]
    assert lines[2] == "best val_loss 0.3750  recurrent, input+recurrent, rate 0.3  trial 2"
    assert lines[3] == "gain 0.1250 over the same without dropout"
    assert lines[4] == "now  trial 4  wrapper=none  epoch 12/30  loss 0.2500  val_loss 0.7500"


@pytest.mark.parametrize(
    ("score", "shown"),
    [
        (1e30, "1.0000e+30"),
        (-2345678.9, "-2.3457e+06"),
        (123456.789, "123456.7890"),
        (2e-7, "2.0e-07"),
    ],
)
def test_large_and_tiny_scores_have_an_exponent(score, shown):
    events = (started(), trial(0, 0.0), epoch(0, 0, loss=score), ended(0, 9.0, score=score))
    assert f"best val_loss {shown}" in drawn(*events)
    assert f"val_loss {shown} (best {shown})" in said(*events)[0]
    assert f"loss {shown}" in drawn(*events[:-1])


def test_no_gain_yet():
    text = drawn(
        started("max"),
        trial(0, 0.0, wrapper="none"),
        ended(0, 9.0, score=0.5),
        trial(1, 9.0, **DROPPED),
        ended(1, 10.0, score=0.4),
    )
    assert "none 0.5000 without dropout, the best so far" in " ".join(text.split())


def test_a_gain_is_over_the_same_settings_only():
    events = (
        started(),
        trial(0, 0.0, wrapper="none", learning_rate=0.001),
        ended(0, 9.0, score=0.5),
        trial(1, 9.0, **DROPPED, learning_rate=0.01),
        ended(1, 10.0, score=0.4),
    )
    text = " ".join(drawn(*events).split())
    assert "none 0.5000 without dropout" in text
    assert "gain" not in text
    twin = (trial(2, 10.0, wrapper="none", learning_rate=0.01), ended(2, 11.0, score=0.4))
    assert "gain none over the same without dropout" in " ".join(drawn(*events, *twin).split())


def test_what_a_pruned_trial_reached_is_not_the_best():
    text = drawn(
        started(),
        trial(0, 0.0, wrapper="none"),
        ended(0, 9.0, score=0.5),
        trial(1, 9.0, wrapper="none"),
        ended(1, 10.0, status="PRUNED", score=0.25),
    )
    assert "best val_loss 0.5000" in text
    assert "0.2500" not in text


def test_several_workers():
    running = [trial(number, 0.0, **DROPPED) for number in range(10)]
    text = drawn(started(), *running, epoch(0, 2, execution=1, loss=1.0), workers=10)
    assert (
        "trial 1  wrapper=recurrent placement=input+recurrent rate=0.3  training 2 epoch 3/30"
        in (text)
    )
    assert text.count("building") == 7
    assert "and 2 more" in text


def confirmed(number, repeat, score=0.5):
    return ConfirmationEnded(
        trial_id=str(number), repeat=repeat, seed=1, score=score, seconds=10.0, total=4, time=20.0
    )


def test_the_confirmation():
    over = (started(), trial(0, 0.0, wrapper="none"), ended(0, 9.0, score=0.5))
    begun = (*over, ConfirmationStarted(trial_ids=["0", "1"], total=4))
    assert "confirming 0/4" in drawn(*begun)
    text = drawn(*begun, confirmed(0, 0))
    assert "confirming 1/4" in text
    assert "30s left" in text


def test_a_confirmation_that_goes_on_counts_what_counts():
    """Neither a training that failed, nor the other try, nor that of a trial which is out by now."""
    earlier = [confirmed(0, 0), confirmed(1, 0, score=None), confirmed(2, 0)]
    again = (started(), ConfirmationStarted(trial_ids=["0", "1"], total=4))
    assert "confirming 1/4" in drawn(started(), *earlier, *again)
    assert "confirming 2/4" in drawn(started(), *earlier, *again, confirmed(1, 0))


def test_a_confirmation_with_fewer_seeds_than_an_earlier_one():
    earlier = [confirmed(number, repeat) for number in (0, 1) for repeat in range(5)]
    assert "confirming 4/4" in drawn(
        started(), *earlier, ConfirmationStarted(trial_ids=["0", "1"], total=4)
    )


def test_a_trial_of_a_search_that_was_killed_is_not_under_way():
    begun = (started(), trial(0, 0.0, **DROPPED), epoch(0, 1, loss=1.0))
    assert "now" in drawn(*begun)
    assert "now" not in drawn(*begun, SearchEnded(status="KILLED"))
    assert "now" not in drawn(*begun, started())
    assert "now" in drawn(*begun, started(), trial(0, 0.0, **DROPPED))


def test_what_is_no_number_is_not_best():
    scores = (float("nan"), float("inf"), 0.5, 0.25)
    trials = [
        event
        for number, score in enumerate(scores)
        for event in (trial(number, 0.0, wrapper="none"), ended(number, 1.0, score=score))
    ]
    assert "best val_loss 0.2500" in drawn(started(), *trials)
    assert "nan" not in drawn(started(), *trials)


def test_no_more_time_is_left_than_the_search_has(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 100.0)
    search = started(info={"epochs": 30, "timeout": 160.0})
    assert "1m00s left" in drawn(search, trial(0, 0.0, **DROPPED), ended(0, 100.0, score=1.0))


def said(*events):
    """Returns the lines of the last event."""
    out = io.StringIO()
    progress = Progress(Console(file=out, width=200))
    for event in events:
        before = len(out.getvalue())
        progress.on_event(event)
    return out.getvalue()[before:].splitlines()


def test_the_first_trial_tells_how_long_all_of_them_take():
    """Not before, and not again; a trial that was broken off tells nothing."""
    noon = time.mktime((2026, 9, 1, 12, 0, 0, 0, 0, -1))
    search = replace(started(), time=noon)
    first = (trial(0, noon), ended(0, noon + 60, score=0.5))
    _, forecast = said(search, *first)
    assert forecast == "Going by the first trial, all of them take about 20m00s, until 12:20."
    assert len(said(search, *first, trial(1, noon + 60), ended(1, noon + 80, score=0.4))) == 1
    broken = (trial(0, noon), ended(0, noon + 5, status="INTERRUPTED"))
    assert len(said(search, *broken)) == 1
    assert said(search, *broken, search, *first)[1] == forecast
    long = (trial(0, noon), ended(0, noon + 86_400, score=0.5))
    assert said(search, *long)[1].endswith(", until 2026-09-21 12:00.")
    assert len(said(replace(search, max_trials=1), *first)) == 1


def test_a_small_space_takes_less_time():
    search = started()
    first = (trial(0, 0.0), ended(0, 60.0, score=0.5))
    (line, _) = said(replace(search, configurations=3), *first)
    assert line.endswith("eta 2m00s")


def test_a_trial_that_was_broken_off_is_to_come(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 100.0)
    first = (trial(0, 0.0), ended(0, 100.0, score=0.5))
    broken = (trial(1, 100.0), ended(1, 101.0, status="INTERRUPTED"))
    text = drawn(started(), *first, *broken)
    assert "1 complete 1 interrupted 31m40s left" in " ".join(text.split())


def test_why_no_more_trials_are_begun():
    first = (started(), trial(0, 0.0), ended(0, 60.0, score=0.5))
    (line,) = said(*first, NoMoreTrials(reason="STOPPED"))
    assert line == "Stopped by request after 1 of at most 20 trials."
    few = NoMoreTrials(reason="EXHAUSTED", configurations=3, tried=2)
    (line,) = said(*first, few)
    assert line == (
        "The tuner found no further configuration after 1 of at most 20 trials: it has tried 2 of the 3 in "
        "the search space."
    )


def test_a_reader_that_goes_away_ends_no_search():
    """As with `... | head`: rich's own console ends the process."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        lines = Progress(Terminal(file=file, width=120), epochs=True)
        lines.on_event(started())
        os.close(reading)
        for number in range(3):
            lines.on_event(trial(number, 0.0, **DROPPED))
            lines.on_event(epoch(number, 3, loss=0.5))


def test_epochs_are_counted_as_in_the_panel():
    out = io.StringIO()
    lines = Progress(Console(file=out, width=120), epochs=True)
    for event in (started(), trial(0, 0.0, **DROPPED), epoch(0, 3, execution=1, loss=0.5)):
        lines.on_event(event)
    assert out.getvalue() == "  training 2 epoch 4/30  loss 0.5000  1.0 s\n"


def test_brackets_are_text():
    assert "wrapper=[red]none" in drawn(started(), trial(0, 0.0, wrapper="[red]none"))


@pytest.mark.parametrize(
    ("terminal", "variables", "shown"),
    [
        (True, {"TERM": "xterm"}, True),
        (False, {"TERM": "xterm"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {"TERM": "xterm", "FORCE_COLOR": "1"}, False),
        (True, {"TERM": "xterm", "CI": "true"}, False),
    ],
)
def test_where_it_is_shown(terminal, variables, shown, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    # `FORCE_COLOR` has rich take any file for a terminal, unless it is told what it is.
    file = io.StringIO()
    monkeypatch.setattr(file, "isatty", lambda: terminal)
    console = Console(file=file, force_terminal=terminal or None, width=80)
    with live_display(console) as display:
        assert (display is not None) == shown
    if not shown:
        assert console.file.getvalue() == ""


@pytest.mark.parametrize("variables", [{}, {"CI": "1"}])
def test_in_a_notebook(variables, monkeypatch):
    drawn = []
    monkeypatch.setattr("IPython.display.display", lambda panel, **_: drawn.append(panel))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with live_display(Console(file=io.StringIO(), force_jupyter=True)):
        assert len(drawn) == 1 - len(variables)


class Gone(io.StringIO):
    """A terminal that goes away."""

    gone = False

    def isatty(self):
        return True

    def write(self, text):
        if self.gone:
            raise OSError(5, "Input/output error")
        return super().write(text)


def test_a_terminal_that_goes_away_is_not_the_end_of_a_search(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    file, before = Gone(), sys.stdout
    with live_display(Console(file=file)) as display:
        display.on_event(started())
        file.gone = True
    assert sys.stdout is before


PANEL = """
import time
from tests.terminal.test_live import DROPPED, started, trial
from recdrop_tune.terminal import Terminal, live_display
try:
    with live_display(Terminal(highlight=False)) as display:
        print("before")
        display.on_event(started())
        display.on_event(trial(0, 0.0, **DROPPED))
        time.sleep(60)
except KeyboardInterrupt:
    print("after")
"""


def test_ctrl_c_leaves_nothing_of_the_panel(tmp_path):
    with PseudoTerminal(PANEL, tmp_path, PYTHONPATH=str(ROOT)) as terminal:
        terminal.wait_for(lambda lines: any(line.startswith("╰") for line in lines))
        time.sleep(0.5)  # The panel is there with the first event, and there are two.
        terminal.press(b"\x03")
        lines = terminal.rest()
    assert lines == ["before", "after"]


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
    """The display stays below what is printed; Ctrl-C ends the search cleanly, and says how to go on."""
    environment = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    with PseudoTerminal(SEARCH, tmp_path, **environment) as terminal:
        lines = terminal.wait_for(
            lambda lines: (
                any("│ trial 3/50" in line for line in lines)
                and any("│ now  trial 3" in line and "/40" in line for line in lines)
            )
        )
        top = next(number for number, line in enumerate(lines) if line.startswith("╭"))
        above, below = lines[:top], lines[top:]
        assert [line.split()[1] for line in above if line.startswith("trial")] == ["1/50", "2/50"]
        assert "said by a callback" in above
        assert {line[0] for line in below[1:-1]} == {"│"}
        assert below[-1].startswith("╰")
        terminal.press(b"\x03")
        lines = terminal.rest()
    assert terminal.process.returncode == -signal.SIGINT
    assert lines[-4:-2] == ["KeyboardInterrupt", "Interrupted. Finished trials are kept in p."]
    assert lines[-2].startswith("Best so far: val_loss 0.")
    assert " with wrapper=" in lines[-2]
    assert lines[-1] == 'To resume: run again with directory="p"'
    assert not any(line.startswith(("╭", "│", "╰")) for line in lines)
    events = Journal(tmp_path / "p" / "events.jsonl").read()
    assert isinstance(events[-1], SearchEnded)
    assert events[-1].status == "KILLED"


@pytest.mark.heavy
def test_a_notebook(tmp_path, monkeypatch):
    """One panel in the output of the cell, which is drawn anew, beside the line of each trial."""
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
    assert "trial 2/2" in panel
    lines = [line for text in texts if text != panel for line in text.splitlines()]
    assert [line.split()[1] for line in lines if line.startswith("trial")] == ["1/2", "2/2"]
