"""Tracks a search from its beginning to its end, outages included; `track` attaches it to any tuner."""

from __future__ import annotations

import atexit
import os
import queue
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import keras

from recdrop_tune import events
from recdrop_tune.addresses import absolute, resolve_uri
from recdrop_tune.backends import BackendWarning
from recdrop_tune.credentials import hide
from recdrop_tune.errors import invalid_argument
from recdrop_tune.events import TrackingWarning
from recdrop_tune.files import JOURNAL, SEARCH, check_folder, read_object
from recdrop_tune.hypermodels import extended
from recdrop_tune.journal import Dispatcher, Journal
from recdrop_tune.mlflow_store.datasets import describe_data
from recdrop_tune.mlflow_store.pages import command
from recdrop_tune.mlflow_store.stores import settle_requests
from recdrop_tune.mlflow_store.writer import MLflowWriter
from recdrop_tune.oracle import (
    OptunaOracle,
    exhausted,
    fewer_than_trials,
    read_space,
    time_of_end,
)
from recdrop_tune.records import Records
from recdrop_tune.states import SearchOutcome
from recdrop_tune.stopping import forget_stop, is_asked_to_stop
from recdrop_tune.tuner import (
    ReportsEpochs,
    TrackedOracle,
    TrialReporter,
    describe_search,
)

_FLUSH_SECONDS = 60.0
"""The longest wait at the end of a search for MLflow to take the last events."""

_FIRST_DELAY, _LONGEST_DELAY = 1.0, 30.0
"""Seconds until a failed writer is called again, doubled after each further failure."""

_TOLERANCE = 5.0
"""Seconds after which a writer that keeps failing is reported: a busy server might answer the next call."""


class Tracking:
    """The tracking of one tuner: passes the events of its search to the journal, MLflow and listeners.

    Attributes:
        search_id: Id of the search, kept when it is resumed.
        experiment: Name of the MLflow experiment; `None` without MLflow.
        tracking_uri: Where the runs are, without credentials; `None` without MLflow.
        mlflow: Writes to MLflow.
        records: One record per trial, from all events so far, earlier sessions included. Everything in this
            process reads these, except MLflow's thread, which writes from the journal at its own pace.
        reporter: Reports trials and trainings.
        about: Further fields of `SearchStarted`: `space`, `info`, `data`, `context`, `tags` and
            `register_model`.
        at_end: Saves the result before the search's run ends; `None` saves nothing.
        unsaved: Why the result could not be saved, or `None`.
        process: The process in which the search was begun.
        resume_hint: How to resume the search, in words, if known.
        stays_open: Whether the search's run stays open when the oracle has no more trials.
    """

    def __init__(
        self,
        tuner: Any,
        experiment: str | None,
        uri: str | None,
        records: Records,
        listeners: Iterable[events.Listener],
        about: Mapping[str, Any],
    ) -> None:
        journal = Journal(Path(tuner.project_dir, JOURNAL))
        search = records.search
        self.search_id = _search_id(journal.path.parent) if search is None else search.search_id
        self.experiment = experiment
        self.tracking_uri = None if uri is None else hide(uri)
        self.mlflow = MLflowWriter(uri or "", journal)
        self.records = records
        self.about = dict(about)
        self.at_end: Callable[[Tracking], events.ResultSaved | None] | None = None
        self.unsaved: str | None = None
        self._tuner, self._oracle = tuner, tuner.oracle
        what = f"MLflow at {self.tracking_uri}"
        self._background = Background(self.mlflow.write, what, journal.path)
        self._dispatcher = Dispatcher(journal, [self.records, *listeners])
        if uri is not None:
            settle_requests(uri)
            self._dispatcher.listeners.append(self._background)
        self.stays_open = False
        self.process = events.Process()
        self.resume_hint: str | None = None
        self._under_way = False
        self._failure_elsewhere: str | None = None
        self.reporter = TrialReporter(tuner, self.records, self._dispatcher.emit)

    @property
    def failure(self) -> str | None:
        """Why MLflow does not have everything, in one line without credentials, or `None`."""
        return self._background.failure or self._failure_elsewhere

    def emit(self, event: events.Event) -> None:
        """Records an event."""
        self._dispatcher.emit(event)

    def listen_to_all(self) -> list[events.Event]:
        """Returns a list of all events of the search; new ones are appended."""
        collected = self._dispatcher.journal.read()
        listener: Any = SimpleNamespace(on_event=collected.append)
        self._dispatcher.listeners.insert(0, listener)
        return collected

    def adopt(
        self, experiment_id: str | None, failure: str | None, run_ids: Mapping[str, str]
    ) -> None:
        """Records what another process that tracks this search has written to MLflow."""
        self._failure_elsewhere = failure
        self.mlflow.experiment_id, self.mlflow.run_ids = experiment_id, dict(run_ids)

    @property
    def journal_path(self) -> Path:
        """The journal, which has every event, even if MLflow does not."""
        return self._dispatcher.journal.path

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
                forget_stop(self._tuner.project_dir)
                waits = True
                try:
                    self._report_lost_ends()  # These trials are not interrupted.
                    for record in self.records.running:
                        self.reporter.trial_interrupted(record.trial_id)
                    self._save_result()
                except KeyboardInterrupt:
                    waits = False
                    raise
                finally:
                    self.emit(events.SearchEnded(status=status))
                    if waits:
                        self._background.flush(_FLUSH_SECONDS)
        finally:  # Or the folder stays locked as long as this process lives.
            self._dispatcher.journal.close()

    def _save_result(self) -> None:
        if self.at_end is None:
            return
        try:
            saved = self.at_end(self)
        except Exception as failure:
            self.unsaved = f"{type(failure).__name__}: {failure}"
            what = f"The result was not saved: {self.unsaved}"
            warnings.warn(what, TrackingWarning, stacklevel=3)
        else:
            if saved is not None:
                self.emit(saved)

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

    def begin_search(self) -> None:
        """Begins the search when a tuner asks for the first trial."""
        if self._under_way:
            return
        self._under_way = True
        atexit.register(self.close, SearchOutcome.KILLED)
        self._report_lost_ends()
        self._compare_backends()
        forget_stop(self._tuner.project_dir)
        objective = self._oracle.objective
        info = describe_search(self._tuner, None if self.about["models"] else self._oracle)
        plain = type(self._tuner).__name__ == "Tuner"  # Its oracle tells more.
        kind = self._oracle.__class__ if plain else type(self._tuner)
        self.emit(
            events.SearchStarted(
                search_id=self.search_id,
                name=self._tuner.project_name,
                experiment=self.experiment,
                tuner=kind.__name__,
                objective=objective.name,
                direction=objective.direction,
                max_trials=self.most_trials,
                hyperparameters=read_space(self._oracle.get_space().space),
                tracking_uri=self.tracking_uri and absolute(self.tracking_uri),
                configurations=fewer_than_trials(self._oracle),
                pid=self.process.pid,
                host=self.process.host,
                resume_hint=self.resume_hint,
                **{**self.about, "info": info | self.about["info"]},
            )
        )

    @property
    def most_trials(self) -> int | None:
        """The most trials that are run: none where models are compared."""
        most: int | None = self._oracle.max_trials
        return 0 if self.about["models"] else most

    def can_begin(self) -> bool:
        """Returns whether another trial or training can begin: no one has asked the search to stop."""
        early = self.records.no_more
        if early is not None and early.reason == events.STOPPED:
            return False
        if not is_asked_to_stop(self._tuner.project_dir):
            return True
        gain = early.gain if early else expected_gain(self._oracle)
        self.emit(events.NoMoreTrials(reason=events.STOPPED, gain=gain))
        forget_stop(self._tuner.project_dir)
        return False

    def _compare_backends(self) -> None:
        """Warns if the search ran on another backend before."""
        now, before = str(keras.backend.backend()), self.records.backends[-1:]
        if before and before != [now]:
            warnings.warn(
                f"The search in `{self._tuner.project_dir}` ran on Keras's {before[0]} backend and continues "
                f"on {now}, where the same seed gives other weights and masks. Use `confirm` to compare the "
                f"best trials with fresh seeds, or set KERAS_BACKEND={before[0]}.",
                BackendWarning,
                stacklevel=2,
            )

    def _report_lost_ends(self) -> None:
        """Reports the ends of trials that the oracle had saved, and the journal lacks after a kill."""
        for trial_id, record in self.records.trials.items():
            when = time_of_end(self._oracle, trial_id) if record.ended is None else None
            if when is not None:
                self.reporter.trial_ended(self._oracle.trials[trial_id], when)

    def end_search(self) -> None:
        """Ends the search, unless trainings follow it."""
        if self.records.no_more is None and (ending := ending_of(self._oracle)) is not None:
            self.emit(ending)
        if not self.stays_open:
            self.close()


def ending_of(oracle: Any) -> events.NoMoreTrials | None:
    """Returns why an oracle has no more trials, and what another one is expected to gain; None if unknown."""
    if (counts := exhausted(oracle)) is not None:
        tried, number = counts
        return events.NoMoreTrials(reason=events.EXHAUSTED, configurations=number, tried=tried)
    if isinstance(oracle, OptunaOracle):
        reason = oracle.ended_by()
    else:
        is_full = oracle.max_trials and len(oracle.trials) >= oracle.max_trials
        reason = events.MAX_TRIALS if is_full else None
    if reason is None:
        return None
    return events.NoMoreTrials(reason=reason, gain=expected_gain(oracle))


def expected_gain(oracle: Any) -> float | None:
    """Returns what `OptunaOracle.expected_gain` does; None for other oracles."""
    return oracle.expected_gain() if isinstance(oracle, OptunaOracle) else None


def _search_id(folder: Path) -> str:
    """Returns the identity of a search that begins; `tune` writes it into its folder before that."""
    known = (read_object(folder / SEARCH) or {}).get("id")
    return known if known and isinstance(known, str) else uuid.uuid4().hex


class Background:
    """Calls a writer in a thread, so that training never waits for it.

    The writer is called after each event; it writes those that arrive meanwhile in one go. After a failure it
    is called again, at growing intervals, until it succeeds. `describe` names it in messages.
    """

    def __init__(self, write: Callable[[], None], describe: str, journal: Path) -> None:
        self._write = write
        self._describe = describe
        self._journal = journal
        self._queue: queue.SimpleQueue[threading.Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._due, self._delay = 0.0, _FIRST_DELAY
        self._error: Exception | None = None
        self._failing_since = 0.0
        self._reported = False
        self._late: tuple[threading.Event, str] | None = None

    def on_event(self, event: events.Event) -> None:
        """Wakes the writer, at the cost of microseconds; warns once if it keeps failing."""
        if self._thread is None:
            # A daemon: a server that hangs must not keep the interpreter from exiting.
            self._thread = threading.Thread(target=self._run, name="recdrop-tracking", daemon=True)
            self._thread.start()
        self._queue.put(None)
        self._report()

    @property
    def failure(self) -> str | None:
        """Why events are not written; `None` if they are, or might still be."""
        if self._error is not None and self._keeps_failing():
            return str(self._error)
        if self._late is not None and not self._late[0].is_set():
            return self._late[1]
        return None

    def flush(self, seconds: float) -> bool:
        """Waits until all events so far are written, or writing keeps failing; returns whether in time."""
        if self._thread is None:
            return True
        done = threading.Event()
        self._queue.put(done)
        in_time = done.wait(seconds)
        if not in_time:
            self._late = (done, f"it did not take the last events within {seconds:.0f} s")
        self._report()
        return in_time

    def _run(self) -> None:
        flushing: list[threading.Event] = []
        while True:
            new = self._wait()
            flushing += new
            if new or time.monotonic() >= self._due:
                self._call_writer()
            if self._error is None or self._keeps_failing():
                for done in flushing:
                    done.set()
                flushing.clear()

    def _call_writer(self) -> None:
        begin = time.monotonic()
        try:
            self._write()
            self._error, self._due, self._delay = None, 0.0, _FIRST_DELAY
        except Exception as error:  # Any error: it must not end the thread.
            if self._error is None:
                self._failing_since = begin
            self._error, self._due = error, time.monotonic() + self._delay
            self._delay = min(2 * self._delay, _LONGEST_DELAY)

    def _keeps_failing(self) -> bool:
        return time.monotonic() - self._failing_since >= _TOLERANCE

    def _wait(self) -> list[threading.Event]:
        """Waits for an event, or until the next attempt is due; returns the waiting callers of `flush`."""
        wait = None if self._error is None else max(0.0, self._due - time.monotonic())
        waiting = []
        try:
            item = self._queue.get(timeout=wait)
            while True:
                if item is not None:
                    waiting.append(item)
                item = self._queue.get_nowait()
        except queue.Empty:
            return waiting

    def _report(self) -> None:
        failure = self.failure
        if failure is None or self._reported:
            return
        self._reported = True
        warnings.warn(
            f"{self._describe} failed: {failure}. The search continues, and writing is retried; every event "
            f"is in {self._journal}. If MLflow stays away until the end, write what is missing with: "
            f"{command('sync', str(self._journal.parent))}",
            TrackingWarning,
            stacklevel=4,
        )


def track(
    tuner: Any,
    *,
    records: Records | None = None,
    experiment: str | None = None,
    tracking_uri: str | None = None,
    tags: Mapping[str, str] | None = None,
    listeners: Iterable[events.Listener] = (),
    space: str | None = None,
    info: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    context: events.Context | None = None,
    register_model: str | None = None,
    models: Sequence[str] = (),
) -> Tracking:
    """Tracks a tuner; see `recdrop_tune.track`, which also saves the result at the end.

    `records` are those of the search so far; by default they are read from its journal. `models` are the
    models that are compared, without trials.
    """
    if isinstance(tuner.oracle, TrackedOracle):
        raise invalid_argument("tuner", expected="one that is not tracked yet", received=tuner)
    if "KERASTUNER_ORACLE_IP" in os.environ:
        raise invalid_argument(
            "tuner",
            expected="one that trains its trials in this process, not Keras Tuner's chief or a worker",
            received=tuner,
        )
    check_folder(tuner.project_dir)
    uri = None if experiment is None else resolve_uri(tracking_uri)
    about = {
        "space": space,
        "info": dict(info or {}),
        "data": describe_data(data or {}),
        "context": context,
        "tags": dict(tags or {}),
        "register_model": register_model,
        "models": list(models),
    }
    if records is None:
        records = Records(Journal(Path(tuner.project_dir, JOURNAL)).read())
    tracking = Tracking(tuner, experiment, uri, records, listeners, about)
    tuner.oracle = TrackedOracle(tuner.oracle, tracking, tracking.reporter)
    if tuner.hypermodel is not None:
        tuner.hypermodel = extended(tuner.hypermodel, ReportsEpochs(tracking.reporter))
    return tracking
