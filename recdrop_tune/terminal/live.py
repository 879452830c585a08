"""A display of the search that is under way: at the foot of a terminal, or in a notebook's cell."""

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
from recdrop_tune.errors import plain
from recdrop_tune.events import TrialRecord
from recdrop_tune.terminal.status import (
    Standing,
    details_of,
    dropout_of,
    duration,
    epoch_of,
    gain_words,
    score_of,
)

_SHOWN = 8
"""Of so many trials under way the epoch is shown; of more it would fill the terminal."""

_REFRESHES = 4
"""A second. More is not seen, and takes time from the training."""


class LiveDisplay:
    """Shows how a search stands; a listener like any other, which draws when it is told to.

    Args:
        history: Earlier events of the search, where it goes on.
        workers: How many trials run at the same time.
    """

    def __init__(self, history: Iterable[events.Event] = (), workers: int = 1) -> None:
        self._standing = Standing(history, workers)
        self._lock = threading.Lock()  # A terminal is refreshed by a thread of rich's.

    def on_event(self, event: events.Event) -> None:
        """Takes an event in."""
        with self._lock:
            self._standing.on_event(event)

    def draw(self) -> RenderableType:
        """Draws the panel; nothing before the search has begun."""
        with self._lock:
            if self._standing.search is None:
                return _text("")
            title = _text(self._standing.search.experiment, style="bold")
            return Panel(Group(self._bar(), self._facts()), title=title, title_align="left")

    def _bar(self) -> RenderableType:
        standing = self._standing
        ended = sum(standing.counts().values())
        row = Table.grid(padding=(0, 1))
        if standing.confirming is not None:
            done, total = standing.confirmed, standing.confirming.total
            said, left = f"confirming {done}/{total}", standing.confirmation_left()
        else:
            # The trial under way is the one that people count.
            done, total = ended, standing.total or 0
            number = len(standing.records.trials)
            said = f"trial {number}" + (f"/{total}" if total else "")
            left = standing.seconds_left(time.time())
        counts = "  ".join(f"{number} {state}" for state, number in standing.counts().items())
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
        standing = self._standing
        if standing.best is not None:
            number = f"trial {standing.best.number + 1}"
            what = dropout_of(standing.best.hyperparameters)
            score = f"{standing.objective} {score_of(standing.best):.4f}"
            yield "best", _text("  ".join(filter(None, (score, what, number))), style="green")
        if standing.gain is not None:
            words = gain_words(standing.gain).removeprefix("gain ").replace("no gain", "none")
            yield "gain", _text(words)
        elif standing.baseline is not None:
            best = ", the best so far" if standing.best is standing.baseline else ""
            yield "none", _text(f"{score_of(standing.baseline):.4f} without dropout{best}")
        running = standing.running
        for record in running[:_SHOWN]:
            yield "now", self._now(record)
        if len(running) > _SHOWN:
            yield "", _text(f"and {len(running) - _SHOWN} more", style="dim")

    def _now(self, record: TrialRecord) -> Text:
        said = [f"trial {record.number + 1}", details_of(record)]
        epochs = record.repeats or record.epochs
        if not epochs:
            return _text("  ".join([*said, "building"]))
        last = epochs[-1]
        said.append(epoch_of(last, self._standing.search))
        names = dict.fromkeys(("loss", self._standing.objective))
        said += [f"{name} {last.metrics[name]:.4f}" for name in names if name in last.metrics]
        return _text("  ".join(said))


def _text(words: str, style: str = "") -> Text:
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
        The display, to be told of the events; `None` where there is none.
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
            get_renderable=display.draw,
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
