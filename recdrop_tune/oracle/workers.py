"""Lets an oracle outlive its workers: the trial of one that died is handed out again."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Mapping
from functools import cmp_to_key, partial
from pathlib import Path
from typing import Any

import keras_tuner as kt

from recdrop_tune.oracle.failures import has_ended_by_failures
from recdrop_tune.oracle.optuna_oracle import OptunaOracle
from recdrop_tune.oracle.scores import forget_metrics
from recdrop_tune.oracle.trial_files import read_object, save_state, save_trial, settled

# Keras Tuner's tuners ask again at once where there is nothing for them yet.
_IDLE_SECONDS = 0.05


class Workers:
    """Stands in for the oracle of several workers. Keras Tuner's own waits for dead ones for ever.

    Other attributes are those of the oracle, to read and to set.

    Args:
        oracle: Any `keras_tuner.Oracle`; its files are written atomically from now on.
        timeout: Seconds of silence after which a worker counts as dead. Workers report at the end of
            each epoch, so it has to be longer than the longest epoch. By default, call `give_up`.

    Attributes:
        stopped_by: The failures that ended the search, or None. A worker that got them as an error
            would end alone.
    """

    stopped_by: str | None
    _own = frozenset(("_oracle", "_lock", "_last_seen", "_waits", "stopped_by"))

    def __init__(self, oracle: Any, timeout: float | None = None) -> None:
        self._oracle = oracle
        self._lock = threading.RLock()
        self._last_seen: dict[str, float] = {}
        self._waits = timeout is not None
        self.stopped_by = None
        if not isinstance(oracle, OptunaOracle):
            oracle.save = partial(save_state, oracle)
            oracle._save_trial = partial(save_trial, oracle)
            # Killed between two files, Keras Tuner's own would wait for its trials for ever.
            if oracle.trials:
                oracle.set_state(settled(oracle.get_state(), oracle.trials))
                _restore_grid(oracle)
        if timeout is not None:
            watch = partial(self._watch, timeout)
            threading.Thread(target=watch, name="recdrop-liveness", daemon=True).start()

    def __getattr__(self, name: str) -> Any:
        if name in Workers._own:  # Copying looks for them before they are there.
            raise AttributeError(name)
        return getattr(self._oracle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in Workers._own:
            object.__setattr__(self, name, value)
        else:
            setattr(self._oracle, name, value)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """The class of the oracle, so that `isinstance` answers for it."""
        return type(self._oracle)

    def create_trial(self, tuner_id: str) -> Any:
        """Hands out the trial of a dead worker, or a new one; see `keras_tuner.Oracle.create_trial`.

        While others have trials, a worker that gets none has to wait (`IDLE`): one of them may die, and its
        trial has to run again.
        """
        with self._lock:
            self._last_seen[tuner_id] = time.monotonic()
            oracle = self._oracle
            # Several processes can train one trial together, under one id.
            shared = oracle.multi_worker and tuner_id in oracle.ongoing_trials
            known = set(oracle.trials)
            if self.stopped_by is None:
                trial = oracle.create_trial(tuner_id)
            else:
                oracle.tuner_ids.discard(tuner_id)
                trial = kt.engine.trial.Trial(oracle.get_space(), trial_id="", status="STOPPED")
            again = trial.trial_id in known and trial.metrics.metrics and not shared
            if again and not isinstance(oracle, OptunaOracle):
                forget_metrics(trial)
                oracle._save_trial(trial)  # Or a crash brings back what it had reported.
            if trial.status == "STOPPED" and oracle.ongoing_trials:
                trial.status = "IDLE"
                oracle.tuner_ids.add(tuner_id)
            if trial.status == "STOPPED":
                self._last_seen.pop(tuner_id, None)
        if trial.status == "IDLE" and self._waits:
            time.sleep(_IDLE_SECONDS)
        return trial

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Any:
        """Takes an epoch of a trial, which is a sign of life; see `keras_tuner.Oracle.update_trial`.

        A worker that was given up has to stop.
        """
        with self._lock:
            workers = self._workers_of(trial_id)
            for tuner_id in workers:
                self._last_seen[tuner_id] = time.monotonic()
            if workers:
                trial = self._oracle.update_trial(trial_id, metrics, step)
                if isinstance(self._oracle, OptunaOracle):
                    # It saves few epochs, but this worker can outlive this process and keep its trial.
                    self._oracle._save_trial(self._oracle.trials[trial_id])
                return trial
            trial = copy.copy(self._oracle.trials[trial_id])
            trial.status = "STOPPED"
            return trial

    def end_trial(self, trial: Any) -> None:
        """Ends a trial, unless its worker was given up; see `keras_tuner.Oracle.end_trial`."""
        with self._lock:
            workers, oracle = self._workers_of(trial.trial_id), self._oracle
            if not workers:
                return
            try:
                oracle.end_trial(trial)
            except RuntimeError as error:
                if not has_ended_by_failures(oracle, error):
                    raise
                self.stopped_by = str(error)
                print(error)
                # Keras Tuner raises before it has saved the trial.
                oracle._save_trial(oracle.trials[trial.trial_id])
                for tuner_id in workers:
                    oracle.ongoing_trials.pop(tuner_id, None)
                oracle.save()

    def give_up(self, tuner_id: str) -> None:
        """Gives a dead worker up, so that its trial runs again at the worker that asks next."""
        with self._lock:
            self._last_seen.pop(tuner_id, None)
            trial = self._oracle.ongoing_trials.pop(tuner_id, None)
            self._oracle.tuner_ids.discard(tuner_id)
            if trial is not None:
                self._oracle._retry_queue.append(trial.trial_id)
            self._oracle.save()

    def take_back(self) -> None:
        """Leaves the trials that were under way when the oracle's process died to their workers.

        For an oracle that was just loaded while its workers live on; else their trials run again.
        """
        with self._lock:
            oracle = self._oracle
            state = read_object(Path(oracle._get_oracle_fname()))
            if state is None:
                return
            oracle.set_state(settled(state, oracle.trials))
            _restore_grid(oracle)
            for trial in oracle.ongoing_trials.values():
                trial.status = "RUNNING"
            oracle.tuner_ids |= set(oracle.ongoing_trials)
            oracle.save()

    def _workers_of(self, trial_id: str) -> list[str]:
        ongoing = self._oracle.ongoing_trials.items()
        return [worker for worker, trial in ongoing if trial.trial_id == trial_id]

    def _watch(self, timeout: float) -> None:
        while True:
            time.sleep(min(1.0, timeout / 4))
            with self._lock:
                now = time.monotonic()
                silent = [each for each, seen in self._last_seen.items() if now - seen > timeout]
                for tuner_id in silent:
                    self.give_up(tuner_id)


def _restore_grid(oracle: Any) -> None:
    """Restores the place of Keras Tuner's own grid search, which it does not save, from the trials.

    `_ordered_ids`, `_populate_next` and `_compare` are Keras Tuner's.
    """
    if not isinstance(oracle, kt.oracles.GridSearchOracle):
        return
    values = {id: oracle.trials[id].hyperparameters.values for id in oracle.start_order}
    compare = cmp_to_key(lambda one, other: oracle._compare(values[one], values[other]))
    oracle._ordered_ids, before = type(oracle._ordered_ids)(), None
    for trial_id in sorted(filter(values.get, values), key=compare):
        oracle._ordered_ids.insert(trial_id, before)
        before = trial_id
    # It skips those whose successor was tried.
    oracle._populate_next = [id for id in oracle.end_order if values.get(id)]
