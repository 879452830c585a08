"""Says on the terminal how a search is going: one line a trial."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from rich.console import Console
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

# A console that may lose its reader.


class Terminal(Console):
    """A console that a search outlives: when nobody reads it any more (`... | head`), it falls silent.

    rich's own ends the process then, which is right for a command that only prints.
    """

    def on_broken_pipe(self) -> None:
        """Prints nothing from now on."""
        self.quiet = True
        with suppress(OSError, ValueError):  # What has no descriptor has nothing to flush either.
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
        self._standing = Standing(history, workers)

    def on_event(self, event: events.Event) -> None:
        """Prints what an event has to say."""
        standing = self._standing
        trials, before = standing.records.trials, standing.best
        standing.on_event(event)
        match event:
            case events.EpochEnded() if self._epochs:
                numbers = "  ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
                trial = trials.get(event.trial_id)
                which = f"trial {trial.number + 1} " if trial and self._workers > 1 else ""
                epoch = epoch_of(event, standing.search)
                line = f"  {which}{epoch}  {numbers}  {event.seconds:.1f} s"
                self._print(line, "dim")
            case events.TrialEnded(trial_id=id) if id in trials:
                self._end_trial(trials[id], event, improved=standing.best is not before)
            case events.ConfirmationEnded():
                self._end_confirmation(event)
            case events.WorkerLost(trial_id=id):
                record = trials.get(id or "")
                what = f"; trial {record.number + 1} is run again" if record and event.again else ""
                self._print(f"{event.worker} was lost: {event.reason}{what}", "red")

    def _end_trial(self, record: TrialRecord, event: events.TrialEnded, improved: bool) -> None:
        if event.status == events.PRUNED:
            result, style = self._pruned(record), "yellow"
        elif event.status != events.COMPLETE:
            reason = (event.message or "").strip().rpartition("\n")[2]
            result, style = f"{event.status.lower()}: {reason}", "red"
        else:
            result, style = self._result(event), "green" if improved else ""
        parts = [self._standing.position(record), result, details_of(record)]
        parts.append(f"{record.seconds or 0:.1f} s")
        left = self._standing.seconds_left(event.time)
        if left:
            parts.append(f"eta {duration(left)}")
        self._print("  ".join(parts), style)

    def _pruned(self, record: TrialRecord) -> str:
        best = score_of(record)
        reached = "" if best is None else f" at {self._standing.objective} {best:.4f}"
        return f"pruned after {len(record.epochs)} epochs{reached}"

    def _end_confirmation(self, event: events.ConfirmationEnded) -> None:
        records = self._standing.records
        record = records.trials.get(event.trial_id)
        number = event.trial_id if record is None else record.number + 1
        named = f"{self._standing.objective} {event.score or 0.0:.4f}"
        result = event.message if event.score is None else named
        parts = [f"confirming {self._standing.confirmed}/{event.total}"]
        parts += [f"trial {number} seed {event.repeat + 1}", str(result)]
        what = "" if record is None else dropout_of(record.hyperparameters)
        parts += [f"its twin, without {what}" if event.twin else what]
        style = "red" if event.score is None else ""
        self._print("  ".join([*filter(None, parts), f"{event.seconds:.1f} s"]), style)

    def _result(self, event: events.TrialEnded) -> str:
        result = f"{self._standing.objective} {event.score:.4f}"
        best, gain = self._standing.best, self._standing.gain
        if best is None:
            return result
        what = [dropout_of(best.hyperparameters)]
        what += [] if gain is None else [gain_words(gain)]
        said = "; ".join(filter(None, what))
        return f"{result} (best {score_of(best):.4f}{': ' if said else ''}{said})"

    def _print(self, line: str, style: str) -> None:
        # `Text`, so that brackets in names are not taken for rich's markup.
        self._console.print(Text(plain(line), style=style), soft_wrap=True)
