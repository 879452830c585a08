"""Turns what happens in a search, in its trials and in their trainings into events.

`track` adds two things to any tuner: an oracle around its oracle, and a callback.
"""

from __future__ import annotations

import math
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import keras
from keras_tuner.engine.trial import Trial, TrialStatus

from recdrop_tune import events
from recdrop_tune.hyperparameters import Space
from recdrop_tune.oracle import (
    OptunaOracle,
    reached,
    read_space,
    read_values,
    state_of,
    with_end,
)
from recdrop_tune.records import Records
from recdrop_tune.session import SearchSession
from recdrop_tune.states import FINAL, TrialState
from recdrop_tune.tuner.reports import TrainingReporter
from recdrop_tune.tuner.tuner import Tuner

_PACKAGES = ("recdrop-tune", "keras-tuner", "optuna", "mlflow", "numpy")

_HYPERBAND = {
    "tuner/bracket": "recdrop.bracket",
    "tuner/round": "recdrop.round",
    "tuner/initial_epoch": "recdrop.initial_epoch",
    "tuner/epochs": "recdrop.epochs",
    "tuner/trial_id": "recdrop.resumes_trial",
}
"""The hyperparameters that Hyperband's oracles add, and the tags for them."""


def readable(hyperparameters: Any) -> dict[str, Any]:
    """Returns all hyperparameters of a trial as tables show them, by their keys in the search space.

    Inactive ones are None; values are rounded to their step.
    """
    space = read_space(hyperparameters.space)
    every = dict.fromkeys(row.key for row in space)
    if any(row.key == "wrapper" and row.is_wrapper for row in space):
        # These are columns in every table, even if the space does not search them.
        every |= dict.fromkeys(("placement", "rate"))
    return {**every, **read_values(space, hyperparameters.values)}


def fixed_names(space: Space) -> list[str]:
    """Lists the hyperparameters that have one value in the whole search, as tables name them."""
    searched = {row.key for row in space if not row.is_fixed}
    return [key for key in dict.fromkeys(row.key for row in space) if key not in searched]


def describe_search(tuner: Any, oracle: Any) -> dict[str, Any]:
    """Returns what a tuner searches with: sampler, pruner, trainings of a trial, versions, backend."""
    backend = keras.backend.backend()
    found: dict[str, Any] = {}
    if isinstance(oracle, OptunaOracle):
        parts = {"sampler": oracle.sampler, "pruner": oracle.pruner}
        found |= {k: v if isinstance(v, str) else type(v).__name__ for k, v in parts.items()}
        found |= {"min_gain": oracle.min_gain} if oracle.max_trials is None else {}
    if (executions := getattr(tuner, "executions_per_trial", 1)) > 1:
        found["executions_per_trial"] = executions
    if (cv := getattr(tuner, "cv", None)) is not None:
        found["cv"] = cv if isinstance(cv, int) else str(cv)
    # The modules know their versions; the packages can be keras-nightly or tensorflow-cpu.
    found |= {"keras": keras.__version__} | {name: version(name) for name in _PACKAGES}
    if backend_version := getattr(sys.modules.get(backend), "__version__", None):
        found[backend] = str(backend_version)
    return {**found, "python": platform.python_version(), "backend": backend}


class TrialReporter(TrainingReporter):
    """Reports the trials of one tuner, and the trainings in this process."""

    def __init__(self, tuner: Any, records: Records, emit: Callable[[events.Event], None]) -> None:
        super().__init__(emit)
        self._tuner = tuner
        self._oracle = tuner.oracle
        self._records = records
        self._started: dict[str, float] = {}

    def trial_started(self, trial: Trial) -> None:
        """Reports a new trial."""
        self.begins(trial.trial_id)
        self._started[trial.trial_id] = time.monotonic()
        values = trial.hyperparameters.values
        ongoing = self._oracle.ongoing_trials.items()
        workers = (worker for worker, other in ongoing if other.trial_id == trial.trial_id)
        tags = {"recdrop.worker": str(next(workers, self._tuner.tuner_id))}
        tags |= {tag: str(values[name]) for name, tag in _HYPERBAND.items() if name in values}
        if isinstance(self._oracle, OptunaOracle):
            number = self._oracle.number_of(trial.trial_id)
            tags |= {} if number is None else {"recdrop.optuna_number": str(number)}
        self._emit(
            events.TrialStarted(
                trial_id=trial.trial_id,
                number=self._oracle.start_order.index(trial.trial_id),
                hyperparameters=readable(trial.hyperparameters),
                fixed=fixed_names(read_space(trial.hyperparameters.space)),
                tags=tags,
            )
        )

    def trial_ended(self, trial: Trial) -> None:
        """Reports the end of a trial, once: a worker repeats it to a host that was restarted."""
        self.ends(trial.trial_id)
        record = self._records.trials.get(trial.trial_id)
        if record is not None and record.state in FINAL:
            return
        status = state_of(trial, getattr(self._oracle, "max_epochs", None))
        best, message = reached(trial, self._oracle.objective), trial.message
        is_nan = trial.score is not None and math.isnan(trial.score)
        if is_nan and not message and status != TrialState.COMPLETE:
            # Keras Tuner fails such a trial without a message.
            name = self._oracle.objective.name
            message = f"`{name}` was NaN in every epoch; try a smaller learning rate"
        self._report_growth(trial.hyperparameters)
        values = readable(trial.hyperparameters)
        self._emit(
            events.TrialEnded(
                trial_id=trial.trial_id,
                status=status,
                score=best.value,
                best_step=None if best.value is None else self._position(trial, best.step or 0),
                message=message,
                metrics=best.metrics,
                std=best.std,
                seconds=self._seconds(trial.trial_id),
                hyperparameters=values if record and values != record.hyperparameters else None,
            )
        )

    def _report_growth(self, hyperparameters: Any) -> None:
        """Reports that the model of a trial has registered hyperparameters that the search did not know."""
        known = {row.name for row in self._records.space}
        if any(hp.name not in known for hp in hyperparameters.space):
            space = self._oracle.get_space()
            # An oracle with `tune_new_entries=False` has ignored them.
            space.merge(hyperparameters, overwrite=False)
            self._emit(events.SpaceChanged(hyperparameters=read_space(space.space)))

    def trial_interrupted(self, trial_id: str) -> None:
        """Reports that a running trial was interrupted; it continues when the search resumes."""
        self.ends(trial_id)
        seconds = self._seconds(trial_id)
        status = TrialState.INTERRUPTED
        self._emit(events.TrialEnded(trial_id=trial_id, status=status, seconds=seconds))

    def _seconds(self, trial_id: str) -> float | None:
        started = self._started.pop(trial_id, None)
        return None if started is None else time.monotonic() - started

    def _position(self, trial: Trial, best: int) -> int:
        """Returns the position of the best epoch; this package's tuner reports Keras's number of it."""
        if not isinstance(self._tuner, Tuner):
            return best
        record = self._records.trials.get(trial.trial_id)
        numbers = [each.epoch for each in record.epochs] if record else []
        return numbers.index(best) if best in numbers else best


class TrackedOracle:
    """Forwards every call to an oracle, and reports the trials that start or end.

    Reading and setting attributes reaches the oracle itself. Calls that the oracle makes to itself are not
    reported. `search` decides whether another trial may begin.
    """

    __slots__ = ("_oracle", "_reporter", "_search")

    def __init__(self, oracle: Any, search: SearchSession, reporter: TrialReporter) -> None:
        object.__setattr__(self, "_oracle", oracle)
        object.__setattr__(self, "_search", search)
        object.__setattr__(self, "_reporter", reporter)

    def create_trial(self, tuner_id: str) -> Any:
        """Creates a trial and reports it, or the end of the search."""
        self._search.begin_search()
        # A worker that repeats its request gets the trial that it has.
        may_start = tuner_id in self._oracle.ongoing_trials or (
            self._search.most_trials != 0 and self._search.can_begin()
        )
        trial = self._oracle.create_trial(tuner_id) if may_start else self.no_trial()
        if trial.status == TrialStatus.STOPPED:
            trial = self.no_trial()
        if trial.status == TrialStatus.RUNNING:
            self._reporter.trial_started(trial)
        elif trial.status == TrialStatus.STOPPED:
            self._search.end_search()
        return trial

    def no_trial(self) -> Any:
        """Returns an idle trial while other workers still have one, else one that ends the search.

        A worker can die, and its trial has to run again.
        """
        status = TrialStatus.IDLE if self._oracle.ongoing_trials else TrialStatus.STOPPED
        return Trial(self._oracle.get_space(), trial_id="", status=status)

    def end_trial(self, trial: Trial, *status: str) -> Any:
        """Reports the end of a trial, then ends it. A `status` goes with an id; see `OptunaOracle.end_trial`.

        So no end is lost. A trial that is killed between the two runs again, under its id.
        """
        end = with_end(self._oracle, trial, *status)
        if end.status == TrialStatus.COMPLETED:
            self._oracle.score_trial(end)
            if math.isnan(end.score):  # Keras Tuner fails it too.
                end.status = TrialStatus.INVALID
        self._reporter.trial_ended(end)
        return self._oracle.end_trial(end)

    def __getattr__(self, name: str) -> Any:
        if name in TrackedOracle.__slots__:  # `copy` looks for them before they exist.
            raise AttributeError(name)
        return getattr(self._oracle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._oracle, name, value)
