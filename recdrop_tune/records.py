"""Folds the events of a search: its settings, one record a trial, and the confirmation.

It loads neither Keras nor Keras Tuner, so that a command can tell at once how a search stands.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from recdrop_tune.catalog import MILLISECONDS
from recdrop_tune.events import (
    ConfirmationEnded,
    ConfirmationStarted,
    EpochEnded,
    Event,
    ModelBuilt,
    NoMoreTrials,
    SearchEnded,
    SearchStarted,
    TrialEnded,
    TrialStarted,
)

QUESTIONS = ("wrapper", "placement", "rate", "schedule")
"""What this package asks of every recurrent layer: which dropout, where, how much, and when."""


@dataclass
class TrialRecord:
    """What the events say about one trial.

    Attributes:
        trial_id: Keras Tuner's id.
        number: Position in the order of starts.
        started: Wall-clock time of its start.
        hyperparameters: All of the space, `None` where inactive.
        fixed: Names of those that have one value in the whole search.
        values: The values of its hyperparameters as Keras Tuner keeps them; none in older journals.
        epochs: The epochs of its first training, in order.
        repeats: The epochs of its further trainings, where its configuration is trained more than
            once.
        parameters: Number of parameters of its model.
        kernel: What the recurrent layers of its model train on; `None` if there are none.
        ended: How it ended, once it has.
    """

    trial_id: str
    number: int
    started: float
    hyperparameters: dict[str, Any]
    fixed: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    epochs: list[EpochEnded] = field(default_factory=list)
    repeats: list[EpochEnded] = field(default_factory=list)
    parameters: int | None = None
    kernel: str | None = None
    ended: TrialEnded | None = None

    @property
    def state(self) -> str:
        """How it ended, or `RUNNING`."""
        return self.ended.status if self.ended else "RUNNING"

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
        return max(0.0, self.ended.time - self.started)  # The clock may have been set back.

    @property
    def ended_at(self) -> float | None:
        """Wall-clock time of its end, and never before its beginning: the clock may have been set back."""
        if self.ended is None or self.seconds is None:
            return None
        end = self.ended.time
        return end if end >= self.started else self.started + self.seconds

    @property
    def ms_per_step(self) -> float | None:
        """Milliseconds of a training step: the median of the epochs, of all trainings."""
        epochs = [each.metrics.get(MILLISECONDS) for each in (*self.epochs, *self.repeats)]
        known = [value for value in epochs if value is not None]
        return statistics.median(known) if known else None

    @property
    def last_sign(self) -> float:
        """Wall-clock time of the last thing that is known of it."""
        if self.ended is not None:
            return self.ended.time
        return self.epochs[-1].time if self.epochs else self.started

    @property
    def best_epoch(self) -> int | None:
        """Keras's number of the best epoch, from 0: the step of the curves in MLflow."""
        if self.ended is None or self.ended.best_step is None:
            return None
        # Hyperband goes on with a trial at a later epoch.
        first = self.epochs[0].epoch if self.epochs else 0
        return first + self.ended.best_step


class Records:
    """What the events so far say of a search; a listener like any other.

    Attributes:
        search: The search as it last began or went on; `None` before.
        began: Wall-clock time of its first beginning.
        trials: A record for each trial, by Keras Tuner's id.
        confirming: The confirmation under way, or the last one since the search went on.
        confirmations: The trainings of all confirmations.
        no_more: Why it begins no more trials, if it has said so since it went on.
        ended: Its end, if it has ended since it went on.
        backends: The backends of Keras that have trained, in turn; several where it went on with another one.

    Example:
        >>> records = Records(journal.read())
        >>> records.trials["03"].seconds
        12.3
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.search: SearchStarted | None = None
        self.began: float | None = None
        self.trials: dict[str, TrialRecord] = {}
        self.confirming: ConfirmationStarted | None = None
        self.confirmations: list[ConfirmationEnded] = []
        self.no_more: NoMoreTrials | None = None
        self.ended: SearchEnded | None = None
        self.backends: list[str] = []
        self._backend: Any = None
        self._begun: dict[str, None] = {}
        self._sessions: list[tuple[float, float]] = []
        for event in events:
            self.on_event(event)

    @property
    def objective(self) -> str:
        """Name of the objective; with several, the first one."""
        return self.search.objective if self.search else "objective"

    @property
    def direction(self) -> str:
        """`"min"` or `"max"`."""
        return self.search.direction if self.search else "min"

    @property
    def seconds(self) -> float:
        """How long it ran, without the breaks between its sessions."""
        return sum(last - first for first, last in self._sessions)

    @property
    def running(self) -> list[TrialRecord]:
        """The trials under way, in the order of starts."""
        begun = (self.trials[trial_id] for trial_id in self._begun)
        return [record for record in begun if record.ended is None]

    def on_event(self, event: Event) -> None:
        """Takes one event in."""
        if isinstance(event, TrialStarted | ConfirmationStarted):
            self._note_backend()
        if isinstance(event, SearchStarted):
            self._sessions.append((event.time, event.time))
        elif self._sessions:
            first, last = self._sessions[-1]
            self._sessions[-1] = first, max(last, event.time)  # The clock may have been set back.
        match event:
            case SearchStarted():
                self.search, self.confirming = event, None
                self.no_more, self.ended = None, None
                self._backend = event.info.get("backend")
                self.began = event.time if self.began is None else self.began
                self._begun = {}  # The trials of a search that was killed do not go on.
            case NoMoreTrials():
                self.no_more = event
            case SearchEnded():
                self.ended, self._begun = event, {}
            case TrialStarted(trial_id=id):
                # A trial that runs again (a retry, a crash) starts from nothing.
                about = (event.hyperparameters, event.fixed, event.values)
                self.trials[id] = TrialRecord(id, event.number, event.time, *about)
                self._begun[id] = None
            case ModelBuilt(trial_id=id) if id in self.trials:
                self.trials[id].parameters = event.parameters
                self.trials[id].kernel = event.kernel
            case EpochEnded(trial_id=id) if id in self.trials:
                record = self.trials[id]
                (record.repeats if event.execution else record.epochs).append(event)
            case TrialEnded(trial_id=id) if id in self.trials:
                self.trials[id].ended = event
                self._begun.pop(id, None)
            case ConfirmationStarted():
                self.confirming = event
            case ConfirmationEnded():
                self.confirmations.append(event)

    def _note_backend(self) -> None:
        """Takes note of the backend that trains: a search may go on without anything left to train."""
        if isinstance(self._backend, str) and self.backends[-1:] != [self._backend]:
            self.backends.append(self._backend)

    def to_csv(self) -> str:
        """Writes one row a trial."""
        names = hyperparameter_names(self.trials.values())
        fixed = ["trial_id", "number", "state", "objective", "best_epoch", "epochs", "seconds"]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*fixed, *names])
        for record in self.trials.values():
            score = record.ended.score if record.ended else None
            row = [record.trial_id, record.number, record.state, score, record.best_epoch]
            row += [len(record.epochs), record.seconds]
            writer.writerow([*row, *(record.hyperparameters.get(name) for name in names)])
        return text.getvalue()


def hyperparameter_names(records: Iterable[TrialRecord]) -> list[str]:
    """Lists the names of all hyperparameters, in the order in which they came up."""
    return list(dict.fromkeys(name for record in records for name in record.hyperparameters))


def asked(hyperparameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Picks the active answers to this package's questions, by the layer they are about.

    Example:
        >>> asked({"units": 8, "enc/wrapper": "lambda", "enc/rate": 0.2, "enc/placement": None})
        {'enc': {'wrapper': 'lambda', 'rate': 0.2}}
    """
    layers = dict.fromkeys(name.rpartition("/")[0] for name in hyperparameters)
    found = {}
    for layer in layers:
        names = {key: f"{layer}/{key}" if layer else key for key in QUESTIONS}
        values = {key: hyperparameters.get(name) for key, name in names.items()}
        found[layer] = {key: value for key, value in values.items() if value is not None}
    return {layer: values for layer, values in found.items() if values}
