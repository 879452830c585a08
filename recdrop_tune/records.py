"""The records of a search: its events, folded into its settings, one record per trial, and the confirmation.

All readers of a search read this. It loads neither Keras nor Keras Tuner, so a command can show at once how a
search stands.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from recdrop_tune.catalog import MILLISECONDS
from recdrop_tune.events import (
    ConfirmationEnded,
    ConfirmationStarted,
    EpochEnded,
    Event,
    ModelBuilt,
    NoMoreTrials,
    ResultSaved,
    SearchEnded,
    SearchStarted,
    SpaceChanged,
    TrialEnded,
    TrialStarted,
)
from recdrop_tune.hyperparameters import Hyperparameter
from recdrop_tune.states import TrialState

QUESTIONS = ("wrapper", "placement", "rate")
"""The questions about every recurrent layer: which dropout, where, how much, and when."""

Numbers = TypeVar("Numbers", bound=Any)
"""A number, or an array or a pandas object of numbers."""

FOLDING = threading.RLock()
"""Held while records take an event, and by readers in other threads; no attribute, as no lock is copied."""


@dataclass
class TrialRecord:
    """The events of one trial, folded.

    `epochs` are those of its first training, `repeats` those of its further ones. `is_lost`: it has no end,
    and no process runs it any more. `cost` is its score as a number to minimize; infinite without a finite
    score.
    """

    trial_id: str
    number: int
    started: float
    hyperparameters: dict[str, Any]
    fixed: list[str] = field(default_factory=list)
    epochs: list[EpochEnded] = field(default_factory=list)
    repeats: list[EpochEnded] = field(default_factory=list)
    parameters: int | None = None
    kernel: str | None = None
    ended: TrialEnded | None = None
    is_lost: bool = False
    cost: float = math.inf

    @property
    def state(self) -> TrialState:
        """Its state at its end; before, `RUNNING` or, once it is lost, `INTERRUPTED`."""
        if self.ended is not None:
            return self.ended.status
        return TrialState.INTERRUPTED if self.is_lost else TrialState.RUNNING

    @property
    def active(self) -> dict[str, Any]:
        """Its active hyperparameters."""
        return {name: value for name, value in self.hyperparameters.items() if value is not None}

    @property
    def score(self) -> float | None:
        """Its score, if that is a finite number: a loss that diverged ranks nothing."""
        score = self.ended.score if self.ended else None
        return score if score is not None and math.isfinite(score) else None

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics at its best epoch; without one, those at the last epoch of its first training."""
        if self.ended is not None and self.ended.metrics:
            return self.ended.metrics
        return self.epochs[-1].metrics if self.epochs else {}

    def curve(self, metric: str) -> dict[int, float]:
        """Returns the finite values of a metric in its first training, by epoch."""
        values = {event.epoch: event.metrics.get(metric, math.nan) for event in self.epochs}
        return {epoch: value for epoch, value in values.items() if math.isfinite(value)}

    @property
    def trainings(self) -> int:
        """How many of its trainings have reported an epoch."""
        return len({event.execution for event in (*self.epochs, *self.repeats)})

    @property
    def message(self) -> str:
        """The error of a failed trial."""
        return (self.ended.message or "").strip() if self.ended else ""

    @property
    def spread(self) -> float:
        """Standard deviation of the score over its trainings; NaN if there is one."""
        std = self.ended.std if self.ended else None
        return math.nan if std is None else std

    @property
    def seconds(self) -> float | None:
        """How long it took, building and compiling included."""
        if self.ended is None:
            return None
        if self.ended.seconds is not None:
            return self.ended.seconds
        return max(0.0, self.ended.time - self.started)  # The clock can have been set back.

    @property
    def ended_at(self) -> float | None:
        """Wall-clock time of its end. It is never before its start, even if the clock was set back."""
        return None if self.ended is None else max(self.ended.time, self.started)

    @property
    def total_epochs(self) -> int:
        """How many epochs its model was trained, with those of a trial that Hyperband resumes."""
        return self.epochs[-1].epoch + 1 if self.epochs else 0

    @property
    def ms_per_step(self) -> float | None:
        """Milliseconds of a training step: the median of the epochs, of all trainings."""
        metrics = [each.metrics for each in (*self.epochs, *self.repeats)]
        times = [each[MILLISECONDS] for each in metrics if MILLISECONDS in each]
        return statistics.median(times) if times else None

    @property
    def last_sign(self) -> float:
        """Wall-clock time of its last event."""
        if self.ended is not None:
            return self.ended.time
        return self.epochs[-1].time if self.epochs else self.started

    @property
    def best_epoch(self) -> int | None:
        """Keras's number of the best epoch, from 0: the step of the curves in MLflow."""
        if self.ended is None or self.ended.best_step is None:
            return None
        first = self.epochs[0].epoch if self.epochs else 0  # Hyperband resumes at a later epoch.
        return first + self.ended.best_step


class Records:
    """The events of a search so far, folded; a listener like any other.

    Attributes:
        search: The search as it last started or resumed; `None` before.
        trials: A record for each trial, by Keras Tuner's id.
        confirming: The current round of the confirmation, or the last one since the search resumed.
        confirmations: The trainings of all confirmations. One that failed is replaced when it is repeated.
        failed_before: The `key` of those that failed before the search resumed, and were not repeated yet.
        result: The last saved result, while nothing was trained since.
        no_more: Why it starts no more trials, if it reported that since it resumed.
        ended: Its end, if it has ended since it resumed.
        backends: Keras's backends that have trained, in turn; several if it resumed with another one.
        workers: The most workers of a session.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.search: SearchStarted | None = None
        self.began: float | None = None
        self.space: list[Hyperparameter] = []
        self.trials: dict[str, TrialRecord] = {}
        self.confirming: ConfirmationStarted | None = None
        self.rounds: list[ConfirmationStarted] = []
        self.confirmations: list[ConfirmationEnded] = []
        self.failed_before: set[tuple[str, int]] = set()
        self.result: ResultSaved | None = None
        self.no_more: NoMoreTrials | None = None
        self.ended: SearchEnded | None = None
        self.backends: list[str] = []
        self.workers = 1
        self._running: dict[str, None] = {}  # In the order of starts.
        self._sessions: list[tuple[float, float]] = []
        for event in events:
            self.on_event(event)

    @property
    def objective(self) -> str:
        """Name of the objective."""
        return self.search.objective if self.search else "objective"

    @property
    def models(self) -> dict[str, str]:
        """The compared models by the ids of their trainings, the baseline first; none in a search."""
        models = self.search.models if self.search else []
        return {str(number): model for number, model in enumerate(models)}

    @property
    def direction(self) -> str:
        """`"min"` or `"max"`."""
        return self.search.direction if self.search else "min"

    def cost(self, score: Numbers) -> Numbers:
        """Returns a score as a number to minimize, and such a number as a score; arrays of them too.

        Code that orders or subtracts scores does it with costs, so this is the only place that looks at the
        direction.
        """
        signed: Numbers = -score if self.direction == "max" else score
        return signed

    @property
    def epochs(self) -> int | None:
        """The most epochs of a training, if known."""
        return self.search.info.get("epochs") if self.search else None

    @property
    def seconds(self) -> float:
        """How long it ran, without the breaks between its sessions."""
        return sum(last - first for first, last in self._sessions)

    @property
    def running(self) -> list[TrialRecord]:
        """The running trials, in the order of starts."""
        return [self.trials[id] for id in self._running]

    def lose_running(self) -> None:
        """Marks the running trials as lost: the processes that ran them are gone."""
        for record in self.running:
            record.is_lost = True
        self._running = {}

    def on_event(self, event: Event) -> None:
        """Takes one event."""
        with FOLDING:
            self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, SearchStarted):
            self._sessions.append((event.time, event.time))
        elif self._sessions:
            first, last = self._sessions[-1]
            self._sessions[-1] = first, max(last, event.time)  # The clock can have been set back.
        match event:
            case SearchStarted():
                self.search = event
                self._extend_space(event.hyperparameters)
                self.confirming = self.no_more = self.ended = None
                self.failed_before = {e.key for e in self.confirmations if e.score is None}
                self.began = event.time if self.began is None else self.began
                self.lose_running()  # The earlier session was killed.
                workers = event.info.get("workers")
                self.workers = max(self.workers, workers if isinstance(workers, int) else 1)
            case SpaceChanged():
                self._extend_space(event.hyperparameters)
            case ResultSaved():
                self.result = event
            case NoMoreTrials():
                self.no_more = event
            case SearchEnded():
                self.ended = event
                self.lose_running()
            case TrialStarted(trial_id=id):
                self.result = None
                # A trial that runs again (a retry, a crash) starts over.
                if id in self._running:
                    self.trials[id].is_lost = True
                about = event.hyperparameters, event.fixed
                self.trials[id] = TrialRecord(id, event.number, event.time, *about)
                self._running[id] = None
                self._add_backend()
            case ModelBuilt(trial_id=id) if id in self.trials:
                self.trials[id].parameters = event.parameters
                self.trials[id].kernel = event.kernel
            case EpochEnded(trial_id=id) if id in self.trials:
                record = self.trials[id]
                (record.repeats if event.execution else record.epochs).append(event)
            case TrialEnded(trial_id=id) if id in self.trials:
                record = self.trials[id]
                record.ended = event
                record.hyperparameters = event.hyperparameters or record.hyperparameters
                record.cost = math.inf if record.score is None else self.cost(record.score)
                self._running.pop(id, None)
            case ConfirmationStarted():
                self.confirming = event
                self.rounds.append(event)
                self._add_backend()
            case ConfirmationEnded():
                self.result = None
                self.failed_before.discard(event.key)
                self.confirmations = [
                    each
                    for each in self.confirmations
                    if each.score is not None or each.key != event.key
                ]
                self.confirmations.append(event)

    def _extend_space(self, space: list[Hyperparameter]) -> None:
        """Takes a space, and keeps what earlier trials had: an oracle can ignore what a model registers."""
        names = {row.name for row in space}
        self.space = [*space, *(row for row in self.space if row.name not in names)]

    def _add_backend(self) -> None:
        """Adds the backend once something trains: a search can resume with nothing left to train."""
        backend = self.search.info.get("backend") if self.search else None
        if isinstance(backend, str) and self.backends[-1:] != [backend]:
            self.backends.append(backend)

    def to_csv(self) -> str:
        """Returns a table with one row per trial."""
        trials = self.trials.values()
        # In the order of their first use.
        names = list(dict.fromkeys(name for each in trials for name in each.hyperparameters))
        fixed = ["trial_id", "number", "state", "objective", "best_epoch", "epochs", "seconds"]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*fixed, *names])
        for each in trials:
            score = each.ended.score if each.ended else None
            row = [each.trial_id, each.number, each.state, score, each.best_epoch]
            row += [each.total_epochs, each.seconds]
            writer.writerow([*row, *map(each.hyperparameters.get, names)])
        return text.getvalue()


def dropout_settings(hyperparameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the active answers to `QUESTIONS` by layer: `{"enc": {"wrapper": "lambda", "rate": 0.2}}`."""
    settings: dict[str, dict[str, Any]] = {}
    for layer in dict.fromkeys(name.rpartition("/")[0] for name in hyperparameters):
        for key in QUESTIONS:
            value = hyperparameters.get(f"{layer}/{key}" if layer else key)
            if value is not None:
                settings.setdefault(layer, {})[key] = value
    return settings
