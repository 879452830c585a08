"""Keeps MLflow in step with the events of a search, and brings it up to date where it is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager

from recdrop_tune.errors import ProjectError, RecdropError
from recdrop_tune.events import Event, Journal, SearchEnded, SearchStarted, TrialEnded, TrialStarted
from recdrop_tune.mlflow_store.attempts import log_of
from recdrop_tune.mlflow_store.catch_up import Progress, Written, catch_up
from recdrop_tune.mlflow_store.runs import Runs
from recdrop_tune.mlflow_store.search_runs import SearchRuns
from recdrop_tune.mlflow_store.stores import prepare, reason
from recdrop_tune.mlflow_store.system_metrics import SystemMetrics
from recdrop_tune.mlflow_store.writing import is_transient, writing_alone

_PATIENCE = 30.0
"""Seconds that a search waits for a `sync` of it; it does so in a thread of its own, and tries again."""


class TrackingError(RecdropError):
    """MLflow did not take what it was given.

    Attributes:
        transient: Whether it may take it soon: its server was busy.
    """

    transient = False


class MLflowTracker:
    """Writes a search to MLflow through its client, with explicit run ids and no global state.

    MLflow is a copy of the journal. The runs of a search are found again by the tag
    `recdrop.search_id`, so a search that goes on goes on in the same runs, and what an outage of MLflow
    has left out is written afterwards, each run once.

    Args:
        tracking_uri: Where MLflow keeps its runs.
        journal: The journal of the search.

    Attributes:
        experiment_id: The experiment, while MLflow has all that it was given.
        system_metrics: What measures the machine during each trial, if it is to be measured.
    """

    def __init__(self, tracking_uri: str, journal: Journal) -> None:
        self._uri = tracking_uri
        self._journal = journal
        self._runs: SearchRuns | None = None
        self._missed = False
        self._run_ids_elsewhere: dict[str, str] = {}
        self.experiment_id: str | None = None
        self.system_metrics: SystemMetrics | None = None

    @property
    def parent_run_id(self) -> str | None:
        """The run of the search, once there is one."""
        return None if self._runs is None else self._runs.parent_run_id

    @property
    def run_ids(self) -> dict[str, str]:
        """The last run of each trial, by Keras Tuner's id."""
        return self._run_ids_elsewhere if self._runs is None else self._runs.run_ids

    def was_elsewhere(self, experiment_id: str | None, run_ids: Mapping[str, str]) -> None:
        """Takes over what the tracker of another process has written."""
        self.experiment_id, self._run_ids_elsewhere = experiment_id, dict(run_ids)

    def on_events(self, new: Sequence[Event]) -> bool:
        """Writes the next events.

        Returns:
            Whether they could be written one by one; if not, `catch_up` has to be called.

        Raises:
            TrackingError: MLflow failed; the message holds no credentials.
        """
        # A search may have gone on elsewhere before it begins here. And a request that seemed to have
        # failed may have come to MLflow all the same: that is settled at the end.
        over = any(isinstance(event, SearchEnded) for event in new)
        begins = any(isinstance(event, SearchStarted) for event in new)
        if self._runs is None or begins or (over and (self._missed or self._runs.api.uncertain)):
            return False
        try:
            with self._alone():
                self._runs.on_events(new)
        except Exception as failure:  # MLflow lets SQLAlchemy's, requests' and its own errors out.
            raise self._failed(failure) from None
        self._measure(new)
        return True

    def catch_up(self) -> int:
        """Writes what MLflow lacks of the journal; returns how many bytes of it were read.

        Raises:
            TrackingError: MLflow failed; the message holds no credentials.
        """
        try:
            with self._alone():
                history, size = self._journal.read_to_end()
                self.write(history, alive=True)
        except ProjectError as failure:  # Somebody else is writing.
            raise self._failed(failure) from None
        self._missed = self._missed and not (history and isinstance(history[-1], SearchEnded))
        if self._runs is not None and self._runs.under_way:
            self._measure([event for event in history if isinstance(event, TrialStarted)])
        return size

    def write(
        self,
        history: Iterable[Event],
        alive: bool,
        done: set[tuple[str, int]] | None = None,
        progress: Progress = lambda there, total: None,
    ) -> Written:
        """Brings MLflow to what all events of a search say. Nobody else may be writing.

        Args:
            history: All of its events, in order.
            alive: Whether it is running, so that a trial without an end is under way.
            done: What was written by an earlier call that failed; see `catch_up`.
            progress: Is told of each run; see `catch_up`.

        Returns:
            How many runs were written.

        Raises:
            TrackingError: MLflow failed; the message holds no credentials.
        """
        log = log_of(history, alive)
        if log is None:
            return Written(0, 0)
        try:
            prepare(self._uri)
            api = Runs(self._uri, log.last.experiment)
            folder = self._journal.path.parent
            self._runs, written = catch_up(
                api, log, folder, set() if done is None else done, progress
            )
        except Exception as failure:
            raise self._failed(failure) from None
        self.experiment_id = api.experiment_id
        return written

    def _measure(self, new: Sequence[Event]) -> None:
        """Has the machine be measured for the trial that is under way."""
        trials = [event for event in new if isinstance(event, TrialStarted | TrialEnded)]
        if self.system_metrics is None or not trials:
            return
        if isinstance(trials[-1], TrialStarted):
            self.system_metrics.start(self.run_ids[trials[-1].trial_id])
        else:
            self.system_metrics.stop()

    def _alone(self) -> AbstractContextManager[bool]:
        return writing_alone(self._journal.path.parent, _PATIENCE)

    def _failed(self, failure: Exception) -> TrackingError:
        self._missed = True
        self.experiment_id = None  # What is there is incomplete: nobody should be sent to it.
        error = TrackingError(reason(failure, self._uri))
        error.transient = is_transient(failure)
        return error
