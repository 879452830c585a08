"""The one process of a search that has its oracle, its study and its journal."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from keras_tuner.engine.trial import Trial, TrialStatus

from recdrop_tune.errors import ProjectError, invalid_argument
from recdrop_tune.events import Event, TrackingWarning, WorkerLost
from recdrop_tune.files import write_all, write_atomically
from recdrop_tune.oracle import TooManyFailuresError, forget_metrics
from recdrop_tune.ray_workers.cluster import import_ray
from recdrop_tune.ray_workers.job import MARK, Tasks
from recdrop_tune.session import MLflowRuns
from recdrop_tune.states import SearchOutcome
from recdrop_tune.tuner import Tuner

_LOSSES = 3
"""How many workers can be lost over one trial before it fails: then the trial is the cause."""


class State(NamedTuple):
    """The news of a search; `overdue` are the workers whose trial takes too long."""

    events: list[Event]
    overdue: list[str]
    over: bool
    warnings: list[str]


class End(NamedTuple):
    """What MLflow has of a search at its end, why not more, and why the result could not be saved."""

    mlflow: MLflowRuns
    failure: str | None
    unsaved: str | None


class OracleHost:
    """Serves the oracle of a search to its workers, and its state to the process that began it."""

    def __init__(
        self,
        folder: Path,
        trial_timeout: float | None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        os.environ.update(environment)
        self._folder = folder
        self._timeout = math.inf if trial_timeout is None else trial_timeout
        self._since: dict[str, float] = {}
        self._losses: Counter[str | None] = Counter()
        self._has_failed = False  # Too many trials have.
        self._warnings: list[str] = []

    def open(self, references: Sequence[Any]) -> None:
        """Opens the search of a `Parcel`, whose reference is in a list so that Ray does not resolve it."""
        mark, ray = self._folder / MARK, import_ray()
        if not mark.exists():
            raise ProjectError(
                f"The folder `{self._folder}` does not exist where Ray runs the oracle. Give a `directory` "
                "on a file system that this machine and the head of the cluster share."
            )
        job = ray.get(references[0]).unpacked(ray)
        self._tuner = job.new_tuner()
        if not mark.exists():
            raise invalid_argument(
                "make_tuner",
                expected="a function that makes a tuner without `overwrite=True`",
                received="a tuner that deletes its project folder",
                fix="Each process calls it, which would delete the running search.",
            )
        _check_folder(self._tuner, self._folder)
        self._oracle = self._tuner.oracle
        self._oracle.verbose = 0
        self._tracking = job.track(self._tuner)
        self._tracking.stays_open = True
        self._events: list[Event] = self._tracking.listen_to_all()
        self._follow_up = job.follow_up()
        self._tasks = Tasks(self._follow_up, self._tuner, self._tracking, _LOSSES)
        self._tuner.save()

    def collect_warnings(self) -> None:
        """Collects the warnings of the tracking, to be shown by the process that began the search."""
        showwarning = warnings.showwarning  # This process only serves a search.

        def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, TrackingWarning):
                self._warnings.append(str(message))
            showwarning(message, category, *where, **more)

        warnings.showwarning = show

    def state(self, seen: int) -> State:
        """Returns the news; `seen` is the number of events that the caller knows."""
        now = time.monotonic()
        overdue = [worker for worker, t in self._since.items() if now - t > self._timeout]
        return State(self._events[seen:], overdue, self._tasks.over, self._warnings)

    def ask_oracle(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Calls a method of the oracle that does not depend on the worker."""
        return getattr(self._tuner.oracle, method)(*args, **kwargs)

    def create_trial(self, tuner_id: str) -> Any:
        """Hands out a trial; see `keras_tuner.Oracle.create_trial`."""
        oracle = self._tuner.oracle
        if self._has_failed:
            return oracle.no_trial()
        trial = oracle.create_trial(tuner_id)
        if trial.status == TrialStatus.RUNNING:
            self._since[tuner_id] = time.monotonic()
        return trial

    def update_trial(
        self, tuner_id: str, trial_id: str, metrics: Mapping[str, float], step: int
    ) -> str:
        """Reports an epoch; returns `STOPPED` if the trial must stop, or belongs to another worker."""
        if not self._has(tuner_id, trial_id):
            return str(TrialStatus.STOPPED)
        return str(self._oracle.update_trial(trial_id, metrics, step=step).status)

    def end_trial(self, tuner_id: str, trial: Trial, left: Mapping[str, bytes]) -> None:
        """Ends a trial, and stores the files of its training."""
        if not self._has(tuner_id, trial.trial_id):
            return
        if trial.status == TrialStatus.COMPLETED:
            write_all(Path(self._tuner.get_trial_dir(trial.trial_id)), left)
        self._since.pop(tuner_id, None)
        self._end(trial)

    def forget_metrics(self, tuner_id: str, trial_id: str) -> None:
        """Takes back what a worker has reported of a trial."""
        if self._has(tuner_id, trial_id):
            forget_metrics(self._oracle.get_trial(trial_id))

    def snapshot(self, trial_id: str) -> dict[str, bytes]:
        """Returns what a lost worker or an interrupted search has left of a trial: a file by its name."""
        path = self._tuner.snapshot_path(trial_id)
        return {path.name: path.read_bytes()} if path.exists() else {}

    def keep_snapshot(self, tuner_id: str, trial_id: str, content: bytes) -> None:
        """Stores what another worker would continue with."""
        if self._has(tuner_id, trial_id):
            write_atomically(self._tuner.snapshot_path(trial_id), content)

    def emit(self, tuner_id: str, event: Event) -> None:
        """Records an event of a worker, unless its trial now belongs to another one."""
        if self._tasks.is_busy(tuner_id) or self._has(tuner_id, getattr(event, "trial_id", None)):
            self._tracking.emit(event)

    def next_task(self, tuner_id: str) -> Any:
        """Hands out a task that follows the search; see `Tasks.next`."""
        if self._has_failed or not self._tracking.can_begin():
            self._tasks.cancel()
        task = self._tasks.next(tuner_id)
        self._since.pop(tuner_id, None)
        if self._tasks.is_busy(tuner_id):
            self._since[tuner_id] = time.monotonic()
        return task

    def keep(self, tuner_id: str, *result: Any) -> None:
        """Stores the result of such a task."""
        if self._follow_up is not None and self._tasks.is_busy(tuner_id):
            self._follow_up.keep(self._tuner, self._tracking, *result)

    def give_up(self, tuner_id: str, reason: str, host: str | None) -> bool:
        """Reassigns the trial or task of a dead worker, or fails it; returns whether it had one."""
        self._since.pop(tuner_id, None)
        trial = self._oracle.ongoing_trials.get(tuner_id)
        trial_id = None if trial is None else trial.trial_id
        self._losses[trial_id] += 1
        again = self._losses[trial_id] < _LOSSES
        lost = WorkerLost(worker=tuner_id, trial_id=trial_id, reason=reason, host=host, again=again)
        self._tracking.emit(lost)
        if trial is None:
            return self._tasks.give_up(tuner_id, reason)
        if again:
            self._oracle.give_up(tuner_id)
        else:
            trial.status = TrialStatus.FAILED
            trial.message = f"{_LOSSES} workers were lost over this trial; the last one: {reason}"
            self._end(trial)
        return True

    def fail(self, tuner_id: str, message: str) -> None:
        """Fails the trial of a worker whose error ends the search."""
        trial = self._oracle.ongoing_trials.get(tuner_id)
        # If it has failed, its failure is that error.
        if trial is not None and trial.status == TrialStatus.RUNNING:
            trial.status, trial.message = TrialStatus.FAILED, message
            self._end(trial)

    def close(self, status: SearchOutcome) -> End:
        """Ends the search, and saves its result."""
        self._tracking.close(SearchOutcome.FAILED if self._has_failed else status)
        self._tuner.save()
        return End(self._tracking.mlflow, self._tracking.failure, self._tracking.unsaved)

    def _end(self, trial: Trial) -> None:
        try:
            self._tuner.oracle.end_trial(trial)
        except TooManyFailuresError:  # A worker that got it would end alone.
            self._has_failed = True
        # Not if its end could not be written: then the trial runs again.
        self._tuner.drop_weights(trial.trial_id)
        self._tuner.snapshot_path(trial.trial_id).unlink(missing_ok=True)

    def _has(self, tuner_id: str, trial_id: str | None) -> bool:
        trial = self._oracle.ongoing_trials.get(tuner_id)
        return trial is not None and trial.trial_id == trial_id


def _check_folder(tuner: Tuner, folder: Path) -> None:
    there = Path(tuner.project_dir).resolve()
    if there != folder.resolve():
        raise ProjectError(
            f"The tuner's folder is `{there}` where Ray runs the oracle, and `{folder}` where the search "
            "began. Make the tuner with an absolute `directory`."
        )
