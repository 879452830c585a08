"""What a terminal or a notebook shows of a search: a line for each trial, and a live display below them."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from recdrop_tune import events
from recdrop_tune.errors import exception_line, plain
from recdrop_tune.events import Records, TrialRecord
from recdrop_tune.terminal.status import (
    Standing,
    amount,
    details_of,
    dropout_of,
    duration,
    gain_words,
    no_more_words,
    score_of,
)

_SHOWN = 8
"""How many trials under way are shown with their epoch; more would fill the terminal."""

_REFRESHES = 4
"""How often a second it is drawn. More is not seen, and takes time from the training."""


class Terminal(Console):
    """A console that falls silent when nobody reads it any more (`... | head`).

    rich's own console ends the process then, which is right for a command that only prints.
    """

    def on_broken_pipe(self) -> None:
        """Prints nothing from now on."""
        self.quiet = True
        with contextlib.suppress(
            OSError, ValueError
        ):  # What has no descriptor has nothing to flush either.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            # For what is in the file's buffer: Python writes that when it ends, and would complain.
            os.dup2(nowhere, self.file.fileno())
            os.close(nowhere)


class Progress:
    """Prints a line for each trial that ends: its score, the best so far, and the time left.

    Args:
        console: Where to print; colours and folding only if it is a terminal.
        epochs: Whether to print a line for each epoch as well.
        history: Earlier events of the search, where it goes on.
        workers: How many trials run at the same time.
    """

    def __init__(
        self,
        console: Console | None = None,
        epochs: bool = False,
        history: Iterable[events.Event] = (),
        workers: int = 1,
    ) -> None:
        self._console = console or Terminal(highlight=False)
        self._epochs = epochs
        self._workers = workers
        self._records = Records(history)
        self._standing = Standing(self._records, workers)

    def on_event(self, event: events.Event) -> None:
        """Prints what an event has to say."""
        trials = self._records.trials
        before = self._standing.best if isinstance(event, events.TrialEnded) else None
        self._records.on_event(event)
        match event:
            case events.EpochEnded() if self._epochs:
                numbers = "  ".join(
                    f"{name} {amount(value)}" for name, value in event.metrics.items()
                )
                trial = trials.get(event.trial_id)
                which = f"trial {trial.number + 1} " if trial and self._workers > 1 else ""
                epoch = f"{which}{self._standing.epoch(event)}"
                self._print(f"  {epoch}  {numbers}  {event.seconds:.1f} s", "dim")
            case events.TrialEnded(trial_id=id) if id in trials:
                self._end_trial(trials[id], event, improved=self._standing.best is not before)
            case events.ConfirmationEnded():
                self._end_confirmation(event)
            case events.NoMoreTrials():
                self._print(no_more_words(self._records) or "", "yellow")
            case events.WorkerLost(trial_id=id):
                record = trials.get(id or "")
                what = f"; trial {record.number + 1} is run again" if record and event.again else ""
                self._print(f"{event.worker} was lost: {event.reason}{what}", "red")

    def _end_trial(self, record: TrialRecord, event: events.TrialEnded, improved: bool) -> None:
        if event.status == events.PRUNED:
            best = score_of(record)
            reached = "" if best is None else f" at {self._standing.objective} {amount(best)}"
            result, style = f"pruned after {len(record.epochs)} epochs{reached}", "yellow"
        elif event.status == events.INTERRUPTED:
            result, style = f"interrupted after {len(record.epochs)} epochs", "yellow"
        elif event.status != events.COMPLETE:
            reason = exception_line((event.message or "").strip())
            result, style = f"{event.status.lower()}: {reason}", "red"
        else:
            result, style = self._result(event), "green" if improved else ""
        parts = [self._standing.position(record), result, details_of(record)]
        parts.append(f"{record.seconds or 0:.1f} s")
        left = self._standing.seconds_left(event.time)
        if left and event.status != events.INTERRUPTED:
            parts.append(f"eta {duration(left)}")
        self._print("  ".join(parts), style)
        if (forecast := self._standing.forecast(event.time)) is not None:
            self._print(forecast, "dim")

    def _end_confirmation(self, event: events.ConfirmationEnded) -> None:
        record = self._records.trials.get(event.trial_id)
        number = event.trial_id if record is None else record.number + 1
        named = f"{self._standing.objective} {amount(event.score or 0.0)}"
        result = event.message if event.score is None else named
        parts = [f"confirming {self._standing.confirmed}/{event.total}"]
        parts += [f"trial {number} seed {event.repeat + 1}", str(result)]
        what = "" if record is None else dropout_of(record.hyperparameters)
        parts += [f"its twin, without {what}" if event.twin else what]
        style = "red" if event.score is None else ""
        self._print("  ".join([*filter(None, parts), f"{event.seconds:.1f} s"]), style)

    def _result(self, event: events.TrialEnded) -> str:
        result = f"{self._standing.objective} {amount(event.score)}"
        best, gain = self._standing.best, self._standing.gain
        if best is None:
            return result
        what = [dropout_of(best.hyperparameters)]
        what += [] if gain is None else [gain_words(gain)]
        said = "; ".join(filter(None, what))
        return f"{result} (best {amount(score_of(best))}{': ' if said else ''}{said})"

    def _print(self, line: str, style: str) -> None:
        self._console.print(_text(line, style), soft_wrap=True)


class LiveDisplay:
    """Shows how a search stands; a listener like any other, which draws on demand.

    Args:
        history: Earlier events of the search, where it goes on.
        workers: How many trials run at the same time.
    """

    def __init__(self, history: Iterable[events.Event] = (), workers: int = 1) -> None:
        self._records = Records(history)
        self._standing = Standing(self._records, workers)
        self._lock = threading.Lock()  # A terminal is refreshed by a thread of rich's.

    def on_event(self, event: events.Event) -> None:
        """Takes an event in."""
        with self._lock:
            self._records.on_event(event)

    def draw(self) -> RenderableType:
        """Draws the panel; nothing before the search has begun."""
        with self._lock:
            if self._records.search is None:
                return _text("")
            title = _text(self._records.search.experiment, style="bold")
            return Panel(Group(self._bar(), self._facts()), title=title, title_align="left")

    def _bar(self) -> RenderableType:
        standing = self._standing
        counted = standing.counts()
        ended = sum(counted.values()) - counted.get(events.INTERRUPTED.lower(), 0)
        row = Table.grid(padding=(0, 1))
        if self._records.confirming is not None:
            done, total = standing.confirmed, self._records.confirming.total
            said, left = f"confirming {done}/{total}", standing.confirmation_left()
        else:
            # The trial under way is the one that people count.
            done, total = ended, standing.total or 0
            number = len(self._records.trials)
            said = f"trial {number}" + (f"/{total}" if total else "")
            left = standing.seconds_left(time.time())
        counts = "  ".join(f"{number} {state}" for state, number in counted.items())
        ending = f"{duration(left)} left" if left else ""
        bar = ProgressBar(total=max(total, 1), completed=done, width=24)
        row.add_row(_text(said, style="bold"), bar, _text(counts), _text(ending, style="cyan"))
        return row

    def _facts(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in self._rows():
            table.add_row(name, value)
        return table

    def _rows(self) -> Iterator[tuple[str, Text]]:
        best, gain, baseline = self._standing.best, self._standing.gain, self._standing.baseline
        if best is not None:
            what, number = dropout_of(best.hyperparameters), f"trial {best.number + 1}"
            score = f"{self._standing.objective} {amount(score_of(best))}"
            yield "best", _text("  ".join(filter(None, (score, what, number))), style="green")
        if gain is not None:
            words = gain_words(gain).removeprefix("gain ").replace("no gain", "none")
            yield "gain", _text(words)
        elif baseline is not None:
            also = ", the best so far" if best is baseline else ""
            yield "none", _text(f"{amount(score_of(baseline))} without dropout{also}")
        running = self._records.running
        for record in running[:_SHOWN]:
            yield "now", _text(self._standing.now(record))
        if len(running) > _SHOWN:
            yield "", _text(f"and {len(running) - _SHOWN} more", style="dim")


def _text(words: str, style: str = "") -> Text:
    # `Text`, so that brackets in names are not taken for rich's markup.
    return Text(plain(words), style=style)


class NotebookDisplay(LiveDisplay):
    """The same in a notebook's cell, drawn anew with the events."""

    def __init__(self, history: Iterable[events.Event] = (), workers: int = 1) -> None:
        super().__init__(history, workers)
        from IPython.display import display

        self._handle: Any = display(self.draw(), display_id=True)
        self._next = 0.0

    def on_event(self, event: events.Event) -> None:
        """Takes an event in, and draws it if the last drawing is some time ago."""
        super().on_event(event)
        now = time.monotonic()
        if now >= self._next or not isinstance(event, events.EpochEnded):
            self._next = now + 1 / _REFRESHES
            self._handle.update(self.draw())


@contextlib.contextmanager
def live_display(
    console: Console, history: Iterable[events.Event] = (), workers: int = 1
) -> Iterator[LiveDisplay | None]:
    """Shows a live display for as long as the block runs, where there is something to show it on.

    On a terminal it stays below whatever is printed meanwhile, and is gone after the block. Where the
    output goes into a file, or the environment variable `CI` is set, there is none. A terminal that goes
    away ends the display, not the block.

    Args:
        console: Where it is shown.
        history: Earlier events of the search, where it goes on.
        workers: How many trials run at the same time.

    Yields:
        The display, a listener for the events; `None` where there is none.
    """
    if os.environ.get("CI"):
        yield None
    elif console.is_jupyter:
        yield NotebookDisplay(history, workers)
    elif not _can_be_drawn_over(console):
        yield None
    else:
        display = LiveDisplay(history, workers)
        drawn = Live(
            # A terminal writes `^C` where the cursor is. Behind a panel of full width that would go into
            # another line, and one line of the panel would stay.
            get_renderable=lambda: Group(display.draw(), ""),
            console=console,
            refresh_per_second=_REFRESHES,
            transient=True,
        )
        with contextlib.suppress(OSError):
            drawn.start()
        try:
            yield display
        finally:
            with contextlib.suppress(OSError):
                drawn.stop()


def _can_be_drawn_over(console: Console) -> bool:
    # Rich takes any file for a terminal where FORCE_COLOR is set, and colours in a file are fine.
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()
