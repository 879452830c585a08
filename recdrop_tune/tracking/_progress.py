"""Says on the terminal how a search is going: one line a trial."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.text import Text

from recdrop_tune.tracking import _events as events
from recdrop_tune.tracking._records import QUESTIONS, Records, TrialRecord, asked


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
        self._console = console or Console(highlight=False)
        self._epochs = epochs
        self._workers = workers
        self._records = Records()
        self._search: events.SearchStarted | None = None
        self._best: TrialRecord | None = None
        for event in history:
            self._take(event)

    def on_event(self, event: events.Event) -> None:
        """Prints what an event has to say."""
        before = self._best
        self._take(event)
        match event:
            case events.EpochEnded() if self._epochs:
                numbers = "  ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
                trial = self._records.trials.get(event.trial_id)
                which = f"trial {trial.number + 1} " if trial and self._workers > 1 else ""
                line = f"  {which}epoch {event.epoch}  {numbers}  {event.seconds:.1f} s"
                self._print(line, "dim")
            case events.TrialEnded(trial_id=id) if id in self._records.trials:
                self._end_trial(self._records.trials[id], event, improved=self._best is not before)
            case events.ConfirmationEnded():
                self._end_confirmation(event)
            case events.WorkerLost(trial_id=id):
                record = self._records.trials.get(id or "")
                what = f"; trial {record.number + 1} is run again" if record and event.again else ""
                self._print(f"{event.worker} was lost: {event.reason}{what}", "red")

    def _end_trial(self, record: TrialRecord, event: events.TrialEnded, improved: bool) -> None:
        if event.status == events.PRUNED:
            result, style = f"pruned after {len(record.epochs)} epochs", "yellow"
        elif event.status != events.COMPLETE:
            reason = (event.message or "").strip().rpartition("\n")[2]
            result, style = f"{event.status.lower()}: {reason}", "red"
        else:
            result, style = self._result(event), "green" if improved else ""
        self._print("  ".join([self._position(record), result, *self._details(record)]), style)

    def _end_confirmation(self, event: events.ConfirmationEnded) -> None:
        name = self._search.objective if self._search else "objective"
        done = len(self._records.confirmations)
        record = self._records.trials.get(event.trial_id)
        values = {} if record is None else record.hyperparameters
        layers = [
            (f"{layer} " if layer else "") + _configuration(chosen)
            for layer, chosen in asked(values).items()
        ]
        number = event.trial_id if record is None else record.number + 1
        result = event.message if event.score is None else f"{name} {event.score:.4f}"
        parts = [f"confirming {done}/{event.total}", f"trial {number} seed {event.repeat + 1}"]
        style = "red" if event.score is None else ""
        self._print("  ".join([*parts, str(result), *layers, f"{event.seconds:.1f} s"]), style)

    def _take(self, event: events.Event) -> None:
        """Counts an event in and keeps the best trial."""
        self._records.on_event(event)
        if isinstance(event, events.SearchStarted):
            self._search = event
        if isinstance(event, events.TrialEnded) and event.score is not None:
            if event.trial_id not in self._records.trials:
                return  # Begun in a session that is not known here.
            sign = -1 if self._search and self._search.direction == "max" else 1
            best = self._best.ended.score if self._best and self._best.ended else None
            if best is None or sign * event.score < sign * best:
                self._best = self._records.trials[event.trial_id]

    def _result(self, event: events.TrialEnded) -> str:
        name = self._search.objective if self._search else "objective"
        result = f"{name} {event.score:.4f}"
        if self._best is None or self._best.ended is None:
            return result
        layers = [
            (f"{layer} " if layer else "") + _configuration(values)
            for layer, values in asked(self._best.hyperparameters).items()
        ]
        best = f"{self._best.ended.score:.4f}"
        return f"{result} (best {best}{': ' if layers else ''}{'; '.join(layers)})"

    def _position(self, record: TrialRecord) -> str:
        total = self._search.max_trials if self._search else None
        return f"trial {record.number + 1}" + (f"/{total}" if total else "")

    def _details(self, record: TrialRecord) -> list[str]:
        values = {
            name: value for name, value in record.hyperparameters.items() if value is not None
        }
        names = [name for name in QUESTIONS if name in values]
        names += [name for name in values if name not in [*names, *record.fixed]]
        words = " ".join(f"{name}={_short(values[name])}" for name in names)
        times = [f"{record.seconds or 0:.1f} s"]
        total = self._search.max_trials if self._search else None
        left = max(0, total - len(self._records.trials)) if total else 0
        if left:
            took = [each.seconds for each in self._records.trials.values() if each.seconds]
            seconds = left * sum(took) / max(1, len(took)) / self._workers
            times.append(f"eta {duration(seconds)}")
        return [words, *times]

    def _print(self, line: str, style: str) -> None:
        # `Text`, so that brackets in names are not taken for rich's markup.
        self._console.print(Text(line, style=style), soft_wrap=True)


def duration(seconds: float) -> str:
    """Writes a number of seconds as people do: 12s, 2m10s, 3h05m."""
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _configuration(values: Mapping[str, object]) -> str:
    named = ("rate", "schedule")
    words = (f"{key} {value}" if key in named else str(value) for key, value in values.items())
    return ", ".join(words)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
