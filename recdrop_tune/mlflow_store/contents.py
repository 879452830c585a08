"""Computes, from the events of a search, what its MLflow runs should contain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from recdrop_tune import events, standing
from recdrop_tune.catalog import MILLISECONDS, TECHNIQUES
from recdrop_tune.errors import failure_text
from recdrop_tune.mlflow_store.pages import run_name
from recdrop_tune.mlflow_store.runs import NOTE, Point, clean, milliseconds
from recdrop_tune.records import Records, TrialRecord
from recdrop_tune.states import SearchOutcome, TrialState

_DESCRIBED = (
    events.SearchStarted,
    events.TrialEnded,
    events.ConfirmationStarted,
    events.ConfirmationEnded,
    events.NoMoreTrials,
    events.ResultSaved,
    events.SearchEnded,
)
"""Events that change the description of a search."""


@dataclass
class Contents:
    """The content that a run in MLflow should have; for the run of the search, `trial_id` is empty."""

    name: str
    began: float
    trial_id: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, Any] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    end: tuple[SearchOutcome, float] | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Identifies the run in MLflow: the trial, and its beginning in milliseconds."""
        return self.trial_id, milliseconds(self.began)


def run_status(state: TrialState) -> SearchOutcome:
    """Returns MLflow's status of a trial's run; the tag `recdrop.state` has the trial's own state."""
    if state in (TrialState.COMPLETE, TrialState.PRUNED):
        return SearchOutcome.FINISHED  # Pruned as planned; MLflow shows the others as failures.
    return SearchOutcome.KILLED if state == TrialState.INTERRUPTED else SearchOutcome.FAILED


class SearchContents:
    """The intended contents of all runs of a search, from its events.

    Each attempt at a trial has its own run: a retry is another attempt, and so is a trial that runs again
    after a crash. Parameters and curves in MLflow cannot be deleted, so the run of an earlier attempt
    stays, with the kind `superseded`. The writer clears `changed` and `is_description_new`.
    """

    def __init__(self, first: events.SearchStarted, alive: bool) -> None:
        self.search = first
        self.run = Contents(first.name, first.time)
        self.attempts: dict[tuple[str, int], Contents] = {}
        self.latest: dict[str, Contents] = {}  # The run of the last attempt at each trial.
        self.changed: dict[tuple[str, int], Contents] = {}
        self.records = Records()  # Its own: MLflow can be far behind the search.
        self.data: Sequence[Mapping[str, Any]] = []
        self.confirmations: list[tuple[str, list[Point]]] = []  # For the runs of trials.
        self.result: events.ResultSaved | None = None
        self.summary: str | None = None
        self.is_description_new = False
        self.alive = alive  # The search is running, and so is a trial without an end.

    def take(self, event: events.Event) -> None:
        """Adds the next event."""
        running = self.records.running
        self.records.on_event(event)
        self._interrupt(running)
        self.is_description_new |= isinstance(event, _DESCRIBED)
        match event:
            case events.SearchStarted():
                self._begin(event)
            case events.TrialStarted():
                name = run_name(event.number, event.trial_id, event.hyperparameters)
                run = Contents(name, event.time, event.trial_id)
                run.params = trial_params(event.hyperparameters)
                self._add_attempt(run, TrialState.RUNNING, event.tags)
            case events.ModelBuilt() | events.EpochEnded() | events.TrialEnded():
                if event.trial_id in self.latest:
                    self._update(self.latest[event.trial_id], event)
            case events.ConfirmationEnded() if self.search.models:
                self._add_training(event)
            case events.ConfirmationEnded() if event.score is not None:
                name = f"confirmed{event.configuration.suffix}"
                metrics = {f"{name}/{metric}": value for metric, value in event.metrics.items()}
                metrics[name] = event.score
                found = points(metrics, event.repeat, event.time)
                self.confirmations.append((event.trial_id, found))
            case events.ResultSaved():
                self.result, self.summary = event, event.summary
            case events.SearchEnded():
                self._end(event.status, event.time)

    def mark_over(self, when: float) -> None:
        """Ends the search, and the trials without an end, at the time of its last event."""
        running = self.records.running
        self.records.lose_running()
        self._interrupt(running)
        if self.run.end is None:
            self._end(SearchOutcome.KILLED, when)
            self.is_description_new = True

    def _begin(self, event: events.SearchStarted) -> None:
        self.search, self.data, self.summary = event, event.data, None
        names = ("objective", "direction", *(() if event.models else ("tuner", "max_trials")))
        params = {name: getattr(event, name) for name in names}
        if event.models:
            params["models"] = ", ".join(event.models)
        if event.context is not None:
            params["data"] = event.context.words
            if event.context.constant is not None:
                params[f"constant {event.objective}"] = event.context.constant
        self.run.params = params | event.info
        own = {"recdrop.kind": "search", "recdrop.search_id": event.search_id}
        self.run.tags |= self._tags(event.tags) | own | {"recdrop.state": TrialState.RUNNING}
        self.run.end = None
        self.run.texts = {}
        if event.space is not None and not event.models:
            self.run.texts["space.yaml"] = event.space
        if self.alive:
            self.result = None

    def _end(self, status: SearchOutcome, when: float) -> None:
        self.run.end = (status, when)
        early = self.records.no_more if status == SearchOutcome.FINISHED else None
        self.run.tags["recdrop.state"] = early.reason if early else status
        if self.result is None and not self.search.models:
            self.run.texts["trials.csv"] = self.records.to_csv()

    def _add_attempt(
        self, run: Contents, state: TrialState, tags: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Adds the run of an attempt, which supersedes that of an earlier attempt at the same trial."""
        if (earlier := self.latest.get(run.trial_id)) is not None:
            earlier.tags["recdrop.kind"] = "superseded"
            self.changed[earlier.key] = earlier
        run.tags = {
            **self._tags(self.search.tags),
            "recdrop.kind": "trial",
            "recdrop.search_id": self.search.search_id,
            "recdrop.trial_id": run.trial_id,
            "recdrop.state": state,
            **self._tags(tags),
        }
        self.attempts[run.key] = self.changed[run.key] = self.latest[run.trial_id] = run

    def _add_training(self, event: events.ConfirmationEnded) -> None:
        """Adds the run of a training of a compared model, which has ended."""
        # Anybody may have written the journal.
        model = self.records.models.get(event.trial_id, "unknown")
        state = TrialState.FAILED if event.score is None else TrialState.COMPLETE
        numbers = {"objective": event.score, "best_epoch": event.best_epoch}
        numbers |= {"train_seconds": event.seconds, **event.metrics}
        run = Contents(
            f"{model} seed {event.repeat + 1}",
            event.time - event.seconds,
            f"{event.trial_id}-{event.repeat}",
            params={"model": model, "repeat": event.repeat, "seed": event.seed},
            points=points(numbers, 0, event.time),
            texts={"error.txt": failure_text(event.message)} if event.message else {},
            end=(run_status(state), event.time),
        )
        self._add_attempt(run, state)

    def _tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Returns tags to write; `sync` leaves out a description, for a stranger's could load images."""
        return {name: value for name, value in tags.items() if self.alive or clean(name) != NOTE}

    def _update(
        self, run: Contents, event: events.ModelBuilt | events.EpochEnded | events.TrialEnded
    ) -> None:
        self.changed[run.key] = run
        match event:
            case events.ModelBuilt():
                run.tags |= {} if event.kernel is None else {"kernel": event.kernel}
            case events.EpochEnded():
                prefix = f"execution{event.execution + 1}/" if event.execution else ""
                # MLflow's pages list the metrics in the order of their first points, and its comparison of
                # runs opens on the first one.
                names = sorted(event.metrics, key=lambda name: name != self.search.objective)
                # A chart would show the last epoch's time of a step. It is a number of the whole trial.
                metrics = {f"{prefix}{k}": event.metrics[k] for k in names if k != MILLISECONDS}
                run.points += points(metrics, event.epoch, event.time)
            case events.TrialEnded():
                run.tags["recdrop.state"] = event.status
                record = self.records.trials[event.trial_id]
                run.params |= trial_params(event.hyperparameters or {})
                run.points += _end_points(record, event)
                run.texts |= {"error.txt": failure_text(event.message)} if event.message else {}
                run.end = (run_status(event.status), record.ended_at or event.time)
                best = standing.best(self.records)
                if event.status == TrialState.COMPLETE and best is not None:
                    so_far = {f"best_{self.search.objective}": best.score or 0.0}
                    self.run.points += points(so_far, record.number, event.time)

    def _interrupt(self, trials: Iterable[TrialRecord]) -> None:
        """Ends the runs of the lost ones among trials, at their last event."""
        for record in trials:
            if record.is_lost:
                run = self.latest[record.trial_id]
                run.tags["recdrop.state"] = record.state
                run.end = (run_status(record.state), record.last_sign)
                self.changed[run.key] = run


def contents_of(history: Iterable[events.Event], alive: bool) -> SearchContents | None:
    """Returns what MLflow should contain of a search with these events; `None` if it has not begun."""
    history = list(history)
    first = next((event for event in history if isinstance(event, events.SearchStarted)), None)
    if first is None:
        return None
    contents = SearchContents(first, alive)
    for event in history:
        contents.take(event)
    if not alive:
        contents.mark_over(history[-1].time)
    return contents


def trial_params(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of a trial's run: its hyperparameters, with rate 0 for no dropout.

    A chart leaves out a trial with the parameter `n/a` if those of other trials are numbers. Where each site
    has a rate, the common one stays `n/a`. So does a learned rate, which is a metric.
    """
    zeros = {}
    for name, value in hyperparameters.items():
        layer, slash, last = name.rpartition("/")
        # `rate`, or one of a site: `encoder/rate.input`.
        is_rate = last.partition(".")[0] == "rate"
        by_site = any(other.startswith(f"{name}.") for other in hyperparameters)
        technique = TECHNIQUES.get(hyperparameters.get(f"{layer}{slash}wrapper", ""))
        learned = technique is not None and technique.learns_rate
        if value is None and is_rate and not by_site and not learned:
            zeros[name] = 0
    return {**hyperparameters, **zeros}


def points(values: Mapping[str, float | None], step: int, when: float) -> list[Point]:
    """Returns the points of several metrics, if known, at one step and time."""
    known = {name: value for name, value in values.items() if value is not None}
    return [Point(name, float(value), step, when) for name, value in known.items()]


def _end_points(record: TrialRecord, end: events.TrialEnded) -> list[Point]:
    """Returns the metrics of a whole trial, under names that are the same in every search."""
    # Tables sort by `objective`, and the score of a pruned trial is not comparable.
    name = "objective_at_prune" if end.status == TrialState.PRUNED else "objective"
    numbers = {
        name: end.score,
        "objective_std": end.std,
        "best_epoch": record.best_epoch,
        "epochs_run": record.total_epochs,
        "train_seconds": record.seconds,
        MILLISECONDS: record.ms_per_step,
        "n_params": record.parameters,
    }
    result = points(numbers, 0, end.time)
    # MLflow's pages show the last value of a metric, which would not match the trial's score. So the best
    # epoch is repeated as a further step, as in MLflow's own Keras logging with `EarlyStopping`.
    last = record.epochs[-1] if record.epochs else None
    best = {name: value for name, value in end.metrics.items() if name != MILLISECONDS}
    if last is not None and any(last.metrics.get(k) != value for k, value in best.items()):
        result += points(best, last.epoch + 1, end.time)
    return result
