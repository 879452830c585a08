"""Which trials are to be run again: after a kill, after the loss of a worker, after a failed attempt.

Trials that wait for it are in Keras Tuner's `_retry_queue`, whatever became of their last attempt, and go to
the worker that asks next. Keras Tuner puts failed attempts there itself. After a kill its files may
contradict each other, and it waits for lost workers for ever: `Resumable` and `Supervised` see to that.

`_save_trial`, `_get_oracle_fname`, `_get_trial_dir`, `_project_dir` and `_retry_queue` are Keras Tuner's: it
has no public hooks for how its files are written and for what is to be run again. A test fails if they go.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras_tuner as kt

from recdrop_tune.errors import check_seconds
from recdrop_tune.files import check_trial_ids, write_atomically
from recdrop_tune.oracle import repairs
from recdrop_tune.oracle.failures import TooManyFailuresError, has_ended_by_failures
from recdrop_tune.oracle.repairs import ENDED, LOST, ResumesGrid, is_chief
from recdrop_tune.oracle.scores import forget_metrics

# How long a worker is kept waiting for which there is nothing yet; Keras Tuner's asks again at once.
_IDLE_SECONDS = 0.05


def unnoted(state: dict[str, Any], trials: dict[str, Any]) -> list[str]:
    """Lists the trials that were killed before they were handed out.

    Keras Tuner saves a new trial, then the oracle's state, and then hands the trial out. So a trial that
    the state does not know of was never run, and what led to it (the bracket of Hyperband, the points
    still to be tried) was not noted either: it is proposed anew.

    Args:
        state: The state that was saved last.
        trials: The trials by id.
    """
    noted = set(state["start_order"])
    return [id for id, trial in trials.items() if id not in noted and trial.status not in ENDED]


def settled(state: dict[str, Any], trials: dict[str, Any]) -> dict[str, Any]:
    """Brings an oracle's state into line with its trials.

    Args:
        state: The state that was saved last.
        trials: The trials by id, each saved before the state.

    Returns:
        The state in which every trial that has ended has done so, and every other one is under way or
        waits to be run again.
    """
    ended = {id for id, trial in trials.items() if trial.status in ENDED}
    ongoing = {
        tuner: id
        for tuner, id in state["ongoing_trials"].items()
        if id in trials and id not in ended
    }
    waiting = [id for id in state["retry_queue"] if id in trials and id not in ended]
    lost = sorted(set(trials) - ended - set(ongoing.values()) - set(waiting))
    # Keras Tuner takes three failures in a row there for those of the search.
    counted = {id for id in ended if getattr(trials[id], "message", None) != LOST}
    in_end_order = [id for id in state["end_order"] if id in counted or id not in trials]
    return {
        **state,
        "ongoing_trials": ongoing,
        "retry_queue": [*waiting, *lost],
        "start_order": [*state["start_order"], *sorted(set(trials) - set(state["start_order"]))],
        "end_order": [*in_end_order, *sorted(counted - set(in_end_order))],
    }


class Resumable:
    """Comes before a `keras_tuner.Oracle` among the bases of a class: it survives a kill at any moment.

    Keras Tuner writes its files in place, one after the other. Killed in the middle it leaves half a file, or
    two files that contradict each other. Here files are whole, and a state that is loaded adds up.
    """

    trials: dict[str, Any]
    get_state: Any
    _get_oracle_fname: Any
    _get_trial_dir: Any
    _project_dir: str
    end_order: list[str]
    _ended_on_disk: int | None = None

    def save(self) -> None:
        """Saves the oracle's state; so that it survives a power cut, where a trial has ended since."""
        ended, text = len(self.end_order), json.dumps(self.get_state())
        path, durable = self._get_oracle_fname(), ended != self._ended_on_disk
        write_atomically(path, text, durable=durable)
        self._ended_on_disk = ended

    def _save_trial(self, trial: Any) -> None:
        path = Path(self._get_trial_dir(trial.trial_id)) / "trial.json"
        # After a power cut a trial that was under way is trained anew, whatever it had reported.
        text, durable = json.dumps(trial.get_state()), trial.status in ENDED
        write_atomically(path, text, durable=durable)

    def reload(self) -> None:
        """Restores the oracle from its files, and makes anew what is damaged; see `repairs.reload`."""
        repairs.reload(self, super().reload)  # type: ignore[misc]

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned, mended by what the trials' own files say.

        Raises:
            ProjectError: A trial's file names a path instead of a trial.
        """
        check_trial_ids(self._project_dir, self.trials)
        for id in unnoted(state, self.trials):
            del self.trials[id]
            Path(self._get_trial_dir(id), "trial.json").unlink(missing_ok=True)
        super().set_state(settled(state, self.trials))  # type: ignore[misc]


class Supervised:
    """Comes before a `keras_tuner.Oracle` among the bases of a class: it outlives its workers.

    Args:
        *args: As for the oracle.
        worker_timeout: Seconds of silence after which a chief gives a worker up.
        **kwargs: As for the oracle.

    Attributes:
        hosted: Whether somebody else serves the workers and says which of them is dead (`give_up`), so
            that silence means nothing.
    """

    hosted: bool
    multi_worker: bool
    trials: dict[str, Any]
    ongoing_trials: dict[str, Any]
    tuner_ids: set[str]
    _save_trial: Any
    save: Any
    _retry_queue: list[str]

    def __init__(self, *args: Any, worker_timeout: float = 1800.0, **kwargs: Any) -> None:
        seconds = check_seconds("worker_timeout", worker_timeout)
        super().__init__(*args, **kwargs)
        self._supervise(float(seconds or 0.0))

    def _supervise(self, worker_timeout: float) -> None:
        self.hosted = False
        self._lock = threading.RLock()
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
            of them may die, and its trial has to be run again.
        """
        with self._lock:
            self._hear(tuner_id)
            # Several processes may train one trial together, under one id.
            shared = self.multi_worker and tuner_id in self.ongoing_trials
            known = len(self.trials)
            trial = super().create_trial(tuner_id)  # type: ignore[misc]
            if trial.status == "RUNNING" and len(self.trials) == known and not shared:
                forget_metrics(trial)
                self._save_trial(trial)  # Or a crash brings back what it had reported.
                self.begins_again(trial)
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

        Raises:
            TooManyFailuresError: Too many trials failed in a row.
        """
        with self._lock:
            trial = ended_trial(self, trial, status, **old)
            if not self._workers_of(trial.trial_id):
                return
            try:
                super().end_trial(trial)  # type: ignore[misc]
            except RuntimeError as error:
                if has_ended_by_failures(self, error):
                    raise TooManyFailuresError(str(error)) from error
                raise

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned, and notes which worker was running what."""
        super().set_state(state)  # type: ignore[misc]
        self._broken_off = {worker: t.trial_id for worker, t in self.ongoing_trials.items()}

    def give_up(self, tuner_id: str) -> str | None:
        """Gives a dead worker up, so that its trial is run again by the worker that asks next.

        Args:
            tuner_id: The worker.

        Returns:
            The id of the trial; `None` if it had none.
        """
        with self._lock:
            trial = self.ongoing_trials.pop(tuner_id, None)
            self.tuner_ids.discard(tuner_id)
            if trial is not None:
                self._retry_queue.append(trial.trial_id)
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

    def begins_again(self, trial: Any) -> None:
        """Is told of a trial that is handed out once more, without what it had reported."""

    def goes_on(self, trial: Any) -> None:
        """Is told of a trial whose worker has outlived the oracle's process."""

    def _hear(self, tuner_id: str) -> None:
        if not self.hosted:
            self._liveness.hear(tuner_id)

    def _workers_of(self, trial_id: str) -> list[str]:
        return [worker for worker, t in self.ongoing_trials.items() if t.trial_id == trial_id]


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
        oracle: The oracle, or what stands in for one.
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
    """Returns a copy of a trial that tells its worker to stop."""
    trial = copy.copy(trial)
    trial.status = "STOPPED"
    return trial


class Liveness:
    """Remembers when each worker was last heard of, and looks for those that have gone silent.

    Args:
        timeout: Seconds of silence after which a worker counts as dead. Workers report at the end of
            each epoch, so it has to be longer than the longest epoch, building included.
        reap: Called with the id of each worker found dead, in a thread of its own.
    """

    def __init__(self, timeout: float, reap: Callable[[str], object]) -> None:
        self._timeout = timeout
        self._reap = reap
        self._seen: dict[str, float] = {}
        self._thread: threading.Thread | None = None

    def hear(self, worker: str) -> None:
        """Takes note of a sign of life; the first one on a chief starts the watch."""
        self._seen[worker] = time.monotonic()
        if self._thread is None and is_chief():
            self._thread = threading.Thread(
                target=self._watch, name="recdrop-liveness", daemon=True
            )
            self._thread.start()

    def forget(self, worker: str) -> None:
        """Stops waiting for a worker."""
        self._seen.pop(worker, None)

    def _watch(self) -> None:
        while True:
            time.sleep(min(1.0, self._timeout / 4))
            now = time.monotonic()
            for worker, seen in list(self._seen.items()):
                if now - seen > self._timeout:
                    self.forget(worker)
                    self._reap(worker)
