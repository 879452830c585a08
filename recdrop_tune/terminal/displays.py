"""Shows a search in a terminal or a notebook: a line for each trial, and a live display below them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import shorten
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from recdrop_tune import events, standing
from recdrop_tune.errors import exception_line, plain
from recdrop_tune.hyperparameters import NONE, has_wrapper
from recdrop_tune.records import FOLDING, Records, TrialRecord
from recdrop_tune.standing import format_number
from recdrop_tune.states import TrialState
from recdrop_tune.terminal import status

_SHOWN = 8
"""The most running trials shown with their epoch; more would fill the terminal."""

_WIDTH = 120
"""Characters of a trial's line. Its configuration is shortened to fit, but not below `_LEAST`."""

_LEAST = 20

_REFRESHES = 4
"""Drawings per second. More are not noticed, and take time from the training."""


class Terminal(Console):
    """A console that stops printing once nobody reads it any more (`... | head`).

    rich's own console ends the process, which is right for a command that only prints.
    """

    def on_broken_pipe(self) -> None:
        """Prints nothing from now on."""
        self.quiet = True
        with contextlib.suppress(OSError, ValueError):  # A file without a descriptor has no buffer.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            # Python flushes the buffer of the file at its end, and would complain.
            os.dup2(nowhere, self.file.fileno())
            os.close(nowhere)


class Progress:
    """Prints a line for each trial that ends: its score, the best so far, and the time left.

    Args:
        console: Where to print; colours and folding only if it is a terminal.
        epochs: Whether to print a line for each epoch as well.
        records: The search, if something else folds its events; by default this object does.
        workers: How many trials run at the same time.
    """

    def __init__(
        self,
        console: Console | None = None,
        epochs: bool = False,
        records: Records | None = None,
        workers: int = 1,
    ) -> None:
        self._console = console or Terminal(highlight=False)
        self._epochs = epochs
        self._workers = workers
        self._folds = records is None
        self._records = Records() if records is None else records

    def on_event(self, event: events.Event) -> None:
        """Prints a line for an event that deserves one."""
        records, trials = self._records, self._records.trials
        if self._folds:
            records.on_event(event)
        match event:
            case events.EpochEnded(trial_id=id, kept=kept) if kept and id in trials:
                if kept == 1:
                    epoch = status.format_epoch(records, event).replace("/", " of ")
                    self._print(f"Trial {trials[id].number} continues after {epoch}", "yellow")
            case events.EpochEnded() if self._epochs:
                metrics = "  ".join(
                    f"{name} {format_number(each)}" for name, each in event.metrics.items()
                )
                trial = trials.get(event.trial_id)
                which = f"trial {trial.number} " if trial and self._workers > 1 else ""
                epoch = status.format_epoch(records, event)
                self._print(f"  {which}{epoch}  {metrics}  {event.seconds:.1f} s", "dim")
            case events.TrialEnded(trial_id=id) if id in trials:
                self._print_trial(trials[id], event)
            case events.ConfirmationStarted() if words := status.format_round(records, event):
                self._print(words, "bold")
            case events.ConfirmationEnded():
                self._print_confirmation(event)
            case events.NoMoreTrials() if (words := status.format_ending(records)) is not None:
                self._print(words, "yellow")
            case events.WorkerLost(trial_id=id):
                record = trials.get(id or "")
                again = f"; trial {record.number} is run again" if record and event.again else ""
                self._print(f"{event.worker} was lost: {event.reason}{again}", "red")

    def _print_trial(self, record: TrialRecord, event: events.TrialEnded) -> None:
        records, epochs = self._records, f"after {record.total_epochs} epochs"
        parts, style = [], "yellow"
        match event.status:
            case TrialState.COMPLETE:
                best = standing.best(records)
                parts.append(f"{records.objective} {format_number(event.score or 0.0)}")
                if best is record:
                    parts.append("best so far")
                elif best is not None:
                    parts.append(f"best {format_number(best.score or 0.0)} (trial {best.number})")
                style = "green" if best is record else ""
            case TrialState.PRUNED:
                parts.append(f"pruned {epochs}")
                if record.score is not None:
                    parts[-1] += f" at {records.objective} {format_number(record.score)}"
            case TrialState.INTERRUPTED:
                parts.append(f"interrupted {epochs}")
            case _:
                reason = exception_line((event.message or "").strip())
                parts.append(f"{event.status.lower()}: {reason}")
                style = "red"
        parts.append(f"{record.seconds or 0:.1f} s")
        left = status.seconds_left(records, event.time, self._workers)
        if left and event.status != TrialState.INTERRUPTED:
            parts.append(f"eta {status.format_duration(left)}")
        total = records.search.max_trials if records.search else None
        start = f"trial {record.number}" + (f" ({record.number + 1} of {total})" if total else "")
        room = _WIDTH - len("  ".join([start, "", *parts]))
        words = shorten(status.format_configuration(record), max(room, _LEAST), placeholder=" …")
        self._print("  ".join(filter(None, [start, words, *parts])), style)
        if event.status == TrialState.INTERRUPTED:
            return
        if (forecast := status.format_forecast(records, event.time, self._workers)) is not None:
            self._print(forecast, "dim")

    def _print_confirmation(self, event: events.ConfirmationEnded) -> None:
        record = self._records.trials.get(event.trial_id)
        trial = f"trial {event.trial_id if record is None else record.number}"
        name = self._records.models.get(event.trial_id, trial)
        score = f"{self._records.objective} {format_number(event.score or 0.0)}"
        parts = [status.format_trainings(self._records), f"{name} seed {event.repeat + 1}"]
        parts += [exception_line(event.message or "") if event.score is None else score]
        dropout = "" if record is None else status.format_dropout(record.hyperparameters)
        if event.twin:
            dropout = f"its twin, without {dropout}"
        elif (donor := self._records.trials.get(event.dropout_of or "")) is not None:
            dropout = f"with the dropout of trial {donor.number}"
        parts += [dropout]
        style = "red" if event.score is None else ""
        self._print("  ".join([*filter(None, parts), f"{event.seconds:.1f} s"]), style)

    def _print(self, line: str, style: str) -> None:
        self._console.print(_text(line, style), soft_wrap=True)


class LiveDisplay:
    """Shows how a search stands."""

    def __init__(self, records: Records, workers: int = 1) -> None:
        self._records = records
        self._workers = workers

    def draw(self) -> RenderableType:
        """Draws the panel; nothing before the search has started."""
        with FOLDING:  # rich refreshes the terminal in another thread.
            if (search := self._records.search) is None:
                return _text("")
            title = _text(search.experiment or search.name, style="bold")
            facts = Table.grid(padding=(0, 1))
            facts.add_column(style="dim", no_wrap=True)
            facts.add_column(overflow="fold")
            for name, value in self._rows():
                facts.add_row(name, value)
            return Panel(Group(self._bar(), facts), title=title, title_align="left")

    def _bar(self) -> RenderableType:
        records, counts = self._records, status.counts(self._records)
        if records.confirming is not None:
            done, total = status.trainings(records)
            words = status.format_trainings(records)
        else:
            done = sum(counts.values()) - counts.get(TrialState.INTERRUPTED.lower(), 0)
            total = (records.search and records.search.max_trials) or 0
            # The running trial is the one that people count.
            words = f"{len(records.trials)}" + (f" of {total}" if total else "") + " trials"
        left = status.seconds_left(records, time.time(), self._workers)
        states = "  ".join(f"{number} {state}" for state, number in counts.items())
        ending = f"{status.format_duration(left)} left" if left else ""
        bar = ProgressBar(total=total or None, completed=done, width=24)
        row = Table.grid(padding=(0, 1))
        row.add_row(_text(words, "bold"), bar, _text(states), _text(ending, "cyan"))
        return row

    def _rows(self) -> Iterator[tuple[str, Text]]:
        records, order = self._records, standing.ranked(self._records)
        best = order[0] if order else None
        if best is not None:
            dropout, number = status.format_dropout(best.hyperparameters), f"trial {best.number}"
            score = f"{records.objective} {format_number(best.score or 0.0)}"
            yield "best", _text("  ".join(filter(None, (score, dropout, number))), "green")
        without = (e for e in order if has_wrapper(e.hyperparameters, NONE))
        baseline = next(without, None)
        if (gain := status.format_best_gain(records)) is not None:
            yield "gain", _text(gain.removeprefix("gain ").replace("no gain", "none"))
        elif baseline is not None:
            also = ", the best so far" if best is baseline else ""
            yield "none", _text(f"{format_number(baseline.score or 0.0)} without dropout{also}")
        for record in records.running[:_SHOWN]:
            yield "now", _text(status.format_running(records, record))
        if len(records.running) > _SHOWN:
            yield "", _text(f"and {len(records.running) - _SHOWN} more", "dim")


def _text(words: str, style: str = "") -> Text:
    # `Text`, so that brackets in names are not taken for rich's markup.
    return Text(plain(words), style=style)


class NotebookDisplay(LiveDisplay):
    """A live display in a notebook's cell, drawn again with the events."""

    def __init__(self, records: Records, workers: int = 1) -> None:
        super().__init__(records, workers)
        from IPython.display import display

        self._handle: Any = display(self.draw(), display_id=True)
        self._next = 0.0

    def on_event(self, event: events.Event) -> None:
        """Draws the search again, unless the last drawing was a moment ago."""
        now = time.monotonic()
        if now >= self._next or not isinstance(event, events.EpochEnded):
            self._next = now + 1 / _REFRESHES
            self._handle.update(self.draw())


@contextlib.contextmanager
def live_display(
    console: Console, records: Records, workers: int = 1
) -> Iterator[events.Listener | None]:
    """Shows a live display while the block runs, if there is a terminal or a notebook.

    On a terminal it stays below other output, and disappears after the block. A terminal that closes ends the
    display, not the block. In a notebook it is yielded, and draws at each event; otherwise this yields None.
    """
    if os.environ.get("CI"):
        yield None
    elif console.is_jupyter:
        yield NotebookDisplay(records, workers)
    elif not console.is_terminal or console.is_dumb_terminal or not console.file.isatty():
        # With FORCE_COLOR, rich takes any file for a terminal; colours in a file are fine.
        yield None
    else:
        display = LiveDisplay(records, workers)
        drawn = Live(
            # A terminal writes `^C` at the cursor. Behind a panel of full width that would begin another
            # line, and one line of the panel would stay.
            get_renderable=lambda: Group(display.draw(), ""),
            console=console,
            refresh_per_second=_REFRESHES,
            transient=True,
        )
        with contextlib.suppress(OSError):
            drawn.start()
        try:
            yield None
        finally:
            with contextlib.suppress(OSError):
                drawn.stop()


@contextlib.contextmanager
def print_search(
    folder: Path,
    records: Records,
    how: str,
    verbose: int,
    workers: int,
    hints: Iterable[str] = (),
) -> Iterator[list[events.Listener]]:
    """Prints a search while the block runs; on Ctrl-C the traceback ends with `how` to resume it.

    Yields the listeners that print its events. With `verbose` 1 they print a line per trial, with 2 also one
    per epoch.
    """
    try:
        if not verbose:
            yield []
            return
        console = Terminal(highlight=False)
        with live_display(console, records, workers) as display:
            print(f"Folder: {folder} (to resume: {how})", flush=True)
            if earlier := status.counts(records):
                states = ", ".join(f"{number} {state}" for state, number in earlier.items())
                print(f"Resuming after {sum(earlier.values())} trials: {states}.", flush=True)
            for hint in hints:
                print(hint, flush=True)
            progress = Progress(console, verbose > 1, records, workers)
            yield [progress] if display is None else [progress, display]
    except KeyboardInterrupt as interrupt:
        # Notes come after the traceback. Printed lines would be above it, out of sight.
        interrupt.add_note(plain(f"Interrupted. Finished trials are kept in {folder}."))
        best = status.format_best(records)
        if best is not None:
            interrupt.add_note(plain(f"Best so far: {best}"))
        interrupt.add_note(plain(f"To resume: {how}"))
        raise
