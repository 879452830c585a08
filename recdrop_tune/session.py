"""The session of a search, from its first trial to its close: begins, stops, ends, and saves the result."""

from __future__ import annotations

import atexit
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from recdrop_tune.backends import BackendWarning
from recdrop_tune.events import (
    STOPPED,
    Context,
    Event,
    Listener,
    NoMoreTrials,
    Process,
    ResultSaved,
    SearchEnded,
    SearchStarted,
    TrackingWarning,
)
from recdrop_tune.files import forget_stop, is_asked_to_stop
from recdrop_tune.hyperparameters import Hyperparameter
from recdrop_tune.journal import Dispatcher
from recdrop_tune.records import Records
from recdrop_tune.states import SearchOutcome

_FLUSH_SECONDS = 60.0
"""The longest wait at the end of a search for MLflow to take the last events."""


@dataclass(frozen=True, kw_only=True)
class SearchDescription:
    """The fields of `SearchStarted` that are known before the first trial."""

    search_id: str
    name: str
    tuner: str
    objective: str
    direction: Literal["min", "max"]
    experiment: str | None = None
    tracking_uri: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    register_model: str | None = None
    space: str | None = None
    info: dict[str, Any] = field(default_factory=dict)
    data: list[dict[str, Any]] = field(default_factory=list)
    context: Context | None = None
    models: list[str] = field(default_factory=list)
    resume_hint: str | None = None


class _Oracle(Protocol):
    """The part of the oracle that a session uses.

    `configurations` is the number of them in the space, if it is less than `max_trials`. `ending` returns why
    there are no more trials, and `expected_gain` what another one is expected to gain, if known.
    """

    @property
    def max_trials(self) -> int | None: ...
    @property
    def hyperparameters(self) -> list[Hyperparameter]: ...
    @property
    def configurations(self) -> int | None: ...
    def ending(self) -> NoMoreTrials | None: ...
    def expected_gain(self) -> float | None: ...


class _Reporter(Protocol):
    """Reports the trials of the search that run in this process."""

    def trial_interrupted(self, trial_id: str) -> None: ...


@dataclass
class MLflowRuns:
    """What MLflow has of a search.

    Attributes:
        experiment_id: The experiment; `None` after a failure.
        parent_run_id: The run of the search, once it exists.
        run_ids: The last run of each trial, by Keras Tuner's id.
    """

    experiment_id: str | None = None
    parent_run_id: str | None = None
    run_ids: dict[str, str] = field(default_factory=dict)


class _Store(Listener, Protocol):
    """MLflow as a listener, which writes in its own thread.

    `failure` is why it does not have everything, in one line without credentials. `flush` waits until all
    events so far are written, and returns whether in time.
    """

    @property
    def runs(self) -> MLflowRuns: ...
    @property
    def failure(self) -> str | None: ...
    def flush(self, seconds: float) -> bool: ...


class SearchSession:
    """The session of a search: passes its events to the journal, MLflow and listeners.

    Attributes:
        description: What is searched, and with what.
        search_id: Id of the search, kept when it is resumed.
        experiment: Name of the MLflow experiment; `None` without MLflow.
        tracking_uri: Where the runs are, without credentials; `None` without MLflow.
        mlflow: What MLflow has of the search.
        records: One record per trial, from all events so far, earlier sessions included. Everything in this
            process reads these, except MLflow's thread, which writes from the journal at its own pace.
        reporter: Reports trials and trainings.
        save_result: Saves the result before the search's run ends; `None` saves nothing.
        unsaved: Why the result could not be saved, or `None`.
        stays_open: Whether the search's run stays open when the oracle has no more trials.
    """

    def __init__(
        self,
        oracle: _Oracle,
        description: SearchDescription,
        dispatcher: Dispatcher,
        records: Records,
        reporter: _Reporter,
        store: _Store | None = None,
        process: Process | None = None,
    ) -> None:
        self.description = description
        self.search_id, self.experiment = description.search_id, description.experiment
        self.records, self.reporter = records, reporter
        self.tracking_uri = description.tracking_uri
        self.mlflow = MLflowRuns() if store is None else store.runs
        self.save_result: Callable[[], ResultSaved | None] | None = None
        self.unsaved: str | None = None
        self.stays_open = False
        self._oracle, self._dispatcher = oracle, dispatcher
        self._store, self._process = store, process or Process()
        self._folder = dispatcher.journal.path.parent
        self._under_way = False
        self._failure_elsewhere: str | None = None

    @property
    def failure(self) -> str | None:
        """Why MLflow does not have everything, in one line without credentials, or `None`."""
        return (self._store and self._store.failure) or self._failure_elsewhere

    @property
    def journal_path(self) -> Path:
        """The journal, which has every event, even if MLflow does not."""
        return self._dispatcher.journal.path

    @property
    def most_trials(self) -> int | None:
        """The most trials that are run: none where models are compared."""
        return 0 if self.description.models else self._oracle.max_trials

    def emit(self, event: Event) -> None:
        """Records an event."""
        self._dispatcher.emit(event)

    def listen_to_all(self) -> list[Event]:
        """Returns a list of all events of the search; new ones are appended."""
        collected = _Collected(self._dispatcher.journal.read())
        self._dispatcher.listeners.insert(0, collected)
        return collected

    def adopt(self, runs: MLflowRuns, failure: str | None, unsaved: str | None) -> None:
        """Takes what another process that ran this search knows of its end."""
        self.mlflow, self._failure_elsewhere, self.unsaved = runs, failure, unsaved

    def begin_search(self) -> None:
        """Begins the search when a tuner asks for the first trial."""
        if self._under_way:
            return
        self._compare_backends()  # It can raise, if warnings are errors.
        self._under_way = True
        atexit.register(self.close, SearchOutcome.KILLED)
        forget_stop(self._folder)
        self.emit(
            SearchStarted(
                max_trials=self.most_trials,
                hyperparameters=self._oracle.hyperparameters,
                configurations=self._oracle.configurations,
                **vars(self._process),
                **vars(self.description),
            )
        )

    def can_begin(self) -> bool:
        """Returns whether another trial or training can begin: no one has asked the search to stop."""
        early = self.records.no_more
        if early is not None and early.reason == STOPPED:
            return False
        if not is_asked_to_stop(self._folder):
            return True
        gain = early.gain if early else self._oracle.expected_gain()
        self.emit(NoMoreTrials(reason=STOPPED, gain=gain))
        forget_stop(self._folder)
        return False

    def end_search(self) -> None:
        """Ends the search, unless trainings follow it."""
        if self.records.no_more is None and (ending := self._oracle.ending()) is not None:
            self.emit(ending)
        if not self.stays_open:
            self.close()

    def close(self, status: SearchOutcome = SearchOutcome.FINISHED) -> None:
        """Ends the search's run, unless it has ended, and waits for MLflow.

        Running trials are interrupted. Ctrl-C during this ends the waiting.

        Args:
            status: How it ends.
        """
        try:
            if self._under_way:
                self._under_way = False
                atexit.unregister(self.close)
                forget_stop(self._folder)
                waits = True
                try:
                    for record in self.records.running:
                        self.reporter.trial_interrupted(record.trial_id)
                    self._save_result()
                except KeyboardInterrupt:
                    waits = False
                    raise
                finally:
                    self.emit(SearchEnded(status=status))
                    if waits and self._store is not None:
                        self._store.flush(_FLUSH_SECONDS)
        finally:  # Or the folder stays locked as long as this process lives.
            self._dispatcher.journal.close()

    def _save_result(self) -> None:
        if self.save_result is None:
            return
        try:
            saved = self.save_result()
        except Exception as failure:
            self.unsaved = f"{type(failure).__name__}: {failure}"
            what = f"The result was not saved: {self.unsaved}"
            warnings.warn(what, TrackingWarning, stacklevel=3)
        else:
            if saved is not None:
                self.emit(saved)

    def _compare_backends(self) -> None:
        """Warns if the search ran on another backend before."""
        now, before = self.description.info["backend"], self.records.backends[-1:]
        if before and before != [now]:
            warnings.warn(
                f"The search in `{self._folder}` ran on Keras's {before[0]} backend and continues "
                f"on {now}, where the same seed gives other weights and masks. Use `confirm` to compare the "
                f"best trials with fresh seeds, or set KERAS_BACKEND={before[0]}.",
                BackendWarning,
                stacklevel=2,
            )

    def __enter__(self) -> Self:
        """Returns itself, to be closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Closes with the status of the block."""
        if error is None:
            self.close()
        else:
            is_error = isinstance(error, Exception)
            self.close(SearchOutcome.FAILED if is_error else SearchOutcome.KILLED)


class _Collected(list[Event]):
    """A list of events that listens."""

    def on_event(self, event: Event) -> None:
        self.append(event)
