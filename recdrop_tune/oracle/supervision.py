"""Makes an oracle of Keras Tuner's outlive its workers: the trial of a dead one is run again by another.

`_retry_queue` is Keras Tuner's: there is no public hook for what waits to be run again. A test fails if it
goes.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Mapping
from typing import Any

import keras_tuner as kt

from recdrop_tune.oracle.chief import Liveness, check_seconds, is_chief
from recdrop_tune.oracle.conditions import ResumesGrid
from recdrop_tune.oracle.trial_files import Resumable

# How long a worker is kept waiting for which there is nothing yet; Keras Tuner's asks again at once.
_IDLE_SECONDS = 0.05


class Supervised:
    """Comes before a `keras_tuner.Oracle` among the bases of a class.

    Args:
        *args: As for the oracle.
        worker_timeout: Seconds of silence after which a chief gives a worker up.
        **kwargs: As for the oracle.

    Attributes:
        hosted: Whether somebody else serves the workers and says which of them is dead (`give_up`), so
            that silence means nothing.
    """

    hosted: bool
    trials: dict[str, Any]
    ongoing_trials: dict[str, Any]
    tuner_ids: set[str]
    save: Any
    _retry_queue: list[str]

    def __init__(self, *args: Any, worker_timeout: float = 1800.0, **kwargs: Any) -> None:
        seconds = check_seconds("worker_timeout", worker_timeout)
        super().__init__(*args, **kwargs)
        self._supervise(float(seconds or 0.0))

    def _supervise(self, worker_timeout: float) -> None:
        self.hosted = False
        self._lock = threading.RLock()
        self._rerun: list[str] = []
        self._broken_off: dict[str, str] = {}
        self._liveness = Liveness(worker_timeout, self.give_up)

    @property
    def serves(self) -> bool:
        """Whether several workers ask it for trials."""
        return self.hosted or is_chief()

    def create_trial(self, tuner_id: str) -> Any:
        """Hands out the trial of a dead worker, or a new one; see `keras_tuner.Oracle.create_trial`.

        Returns:
            The trial. While other workers have trials, one that gets none is told to wait (`IDLE`): one
            of them may die, and somebody has to run its trial again.
        """
        with self._lock:
            self._hear(tuner_id)
            if self._rerun and tuner_id not in self.ongoing_trials:
                return self._run_again(tuner_id)
            trial = super().create_trial(tuner_id)  # type: ignore[misc]
            if trial.status == "STOPPED" and self.ongoing_trials and self.serves:
                trial.status = "IDLE"
                self.tuner_ids.add(tuner_id)
            if trial.status == "IDLE":
                time.sleep(0 if self.hosted else _IDLE_SECONDS)
            if trial.status == "STOPPED":
                self._liveness.forget(tuner_id)
            return trial

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Any:
        """Takes an epoch of a trial, as a sign of life too; see `keras_tuner.Oracle.update_trial`.

        Returns:
            The trial. A worker that was given up, or has outlived its chief, is told to stop.
        """
        with self._lock:
            workers = self._workers_of(trial_id)
            if not workers:
                return stopped(self.trials[trial_id])
            for tuner_id in workers:
                self._hear(tuner_id)
            return super().update_trial(trial_id, metrics, step)  # type: ignore[misc]

    def end_trial(self, trial: Any = None, status: str = "COMPLETED", **old: Any) -> None:
        """Ends a trial, unless its worker was given up; see `keras_tuner.Oracle.end_trial`.

        Args:
            trial: The trial; or its id, as in older versions of Keras Tuner.
            status: How it has ended, beside an id.
            **old: `trial_id`, by which an id was given then.
        """
        with self._lock:
            trial = ended_trial(self, trial, status, **old)
            if self._workers_of(trial.trial_id):
                super().end_trial(trial)  # type: ignore[misc]

    def get_state(self) -> dict[str, Any]:
        """Returns what Keras Tuner saves."""
        state: dict[str, Any] = super().get_state()  # type: ignore[misc]
        return {**state, "retry_queue": [*state["retry_queue"], *self._rerun]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned, and notes who was running what."""
        super().set_state(state)  # type: ignore[misc]
        self._broken_off = {worker: t.trial_id for worker, t in self.ongoing_trials.items()}

    def give_up(self, tuner_id: str) -> str | None:
        """Has the trial of a dead worker run again, by whoever asks next.

        Args:
            tuner_id: The worker.

        Returns:
            The id of the trial; `None` if it had none.
        """
        with self._lock:
            trial = self.ongoing_trials.pop(tuner_id, None)
            self.tuner_ids.discard(tuner_id)
            if trial is not None:
                self.gave_up(trial.trial_id)
                self._rerun.append(trial.trial_id)
            self.save()
            return None if trial is None else str(trial.trial_id)

    def take_back(self) -> None:
        """Leaves the trials that were under way when the oracle's process died to their workers.

        For an oracle that was loaded while its workers live on; else their trials are run again.
        """
        with self._lock:
            for tuner_id, trial_id in self._broken_off.items():
                trial = self.trials[trial_id]
                self._retry_queue.remove(trial_id)
                trial.status = "RUNNING"
                self.tuner_ids.add(tuner_id)
                self.ongoing_trials[tuner_id] = trial
                self.goes_on(trial)
            self._broken_off = {}
            self.save()

    def gave_up(self, trial_id: str) -> None:
        """Is told of a trial whose worker is dead."""

    def goes_on(self, trial: Any) -> None:
        """Is told of a trial whose worker has outlived the oracle's process."""

    def _hear(self, tuner_id: str) -> None:
        if not self.hosted:
            self._liveness.hear(tuner_id)

    def _workers_of(self, trial_id: str) -> list[str]:
        return [worker for worker, t in self.ongoing_trials.items() if t.trial_id == trial_id]

    def _run_again(self, tuner_id: str) -> Any:
        trial = self.trials[self._rerun.pop(0)]
        trial.status = "RUNNING"
        self.tuner_ids.add(tuner_id)
        self.ongoing_trials[tuner_id] = trial
        self.save()
        return trial


def supervised(oracle: Any) -> Any:
    """Returns an oracle that outlives its workers, and a kill, in the place of one that may not.

    Args:
        oracle: Any `keras_tuner.Oracle`. It is not changed, and must not be used any more.
    """
    if isinstance(oracle, Supervised):
        return oracle
    kind = type(oracle)
    wanted: list[type] = [Supervised, Resumable]
    wanted += [ResumesGrid] if isinstance(oracle, kt.oracles.GridSearchOracle) else []
    added = [base for base in wanted if not isinstance(oracle, base)]
    made: Any = object.__new__(type(kind.__name__, (*added, kind), {}))
    vars(made).update(vars(oracle))
    made._supervise(0.0)
    return made


def ended_trial(oracle: Any, trial: Any, status: str, trial_id: str | None = None) -> Any:
    """Returns a trial that has ended, however `end_trial` was told of it.

    Keras Tuner's own reading of the older arguments loses the trial's hyperparameters.

    Args:
        oracle: The oracle, or whatever stands in for one.
        trial: The trial with its status, or its id.
        status: How it has ended, where it was named by its id.
        trial_id: Its id, where there is no `trial`.
    """
    known = trial if trial is not None else trial_id
    if not isinstance(known, str):
        return known
    found = copy.copy(oracle.get_trial(known))
    found.status = str(status)
    return found


def stopped(trial: Any) -> Any:
    """Returns a copy of a trial that tells whoever runs it to stop."""
    trial = copy.copy(trial)
    trial.status = "STOPPED"
    return trial
