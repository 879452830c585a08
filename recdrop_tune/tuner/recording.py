"""Turns what the hooks see of a search, of trials and of their trainings into events."""

from __future__ import annotations

import math
import platform
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras

from recdrop_tune import events
from recdrop_tune.files import SEARCH
from recdrop_tune.oracle import (
    OptunaOracle,
    is_active,
    is_chief,
    is_fixed,
    is_wrapper,
    objectives,
    plain,
    reached,
    read_object,
)
from recdrop_tune.records import Records
from recdrop_tune.spaces import plain_names
from recdrop_tune.stopping import forget_stop, is_asked_to_stop
from recdrop_tune.storage_errors import is_storage_failure
from recdrop_tune.tuner.tuner import Tuner

_PACKAGES = ("recdrop-tune", "keras-tuner", "optuna", "mlflow", "numpy")

# What Hyperband's oracles write among the hyperparameters, and the tag for it.
_HYPERBAND = {
    "tuner/bracket": "recdrop.bracket",
    "tuner/round": "recdrop.round",
    "tuner/initial_epoch": "recdrop.initial_epoch",
    "tuner/epochs": "recdrop.epochs",
    "tuner/trial_id": "recdrop.goes_on_from",
}


def search_id(history: Iterable[events.Event], folder: Path) -> str:
    """Returns the identity of the search that the events are of.

    Args:
        history: The events.
        folder: The project folder. Where the beginning of the search is not among the events, or is damaged,
            the file in it that says what search it is for has the identity too; else it is a new one.
    """
    started = (event for event in history if isinstance(event, events.SearchStarted))
    first = next(started, None)
    if first is not None:
        return first.search_id
    known = (read_object(folder / SEARCH) or {}).get("id")
    return known if known and isinstance(known, str) else uuid.uuid4().hex


def readable(hyperparameters: Any) -> dict[str, Any]:
    """Returns all hyperparameters of a trial as tables show them.

    Args:
        hyperparameters: The `keras_tuner.HyperParameters` of a trial.

    Returns:
        The value of every hyperparameter of the space under the key that the search space gives it,
        `None` where it is inactive, and without the noise of floating-point steps.
    """
    values = hyperparameters.values
    active = {
        hp.name: plain(hp, values[hp.name])
        for hp in hyperparameters.space
        if hp.name in values and is_active(hp, values)
    }
    every = plain_names({hp.name: None for hp in hyperparameters.space})
    if any(hp.name == "wrapper" and is_wrapper(hp) for hp in hyperparameters.space):
        # Which, where and how much are columns everywhere, even if one of them is not asked.
        every |= dict.fromkeys(("placement", "rate"))
    return {**every, **plain_names(active)}


def fixed_names(hyperparameters: Any) -> list[str]:
    """Lists the hyperparameters which have one value in the whole search, as tables name them."""
    every = hyperparameters.space
    searched = set(plain_names({hp.name: None for hp in every if not is_fixed(hp)}))
    return [name for name in plain_names({hp.name: None for hp in every}) if name not in searched]


def about_proposals(oracle: Any) -> dict[str, str]:
    """Names the sampler and the pruner of an `OptunaOracle`; nothing of another oracle."""
    if not isinstance(oracle, OptunaOracle):
        return {}
    return {"sampler": _name(oracle.sampler), "pruner": _name(oracle.pruner)}


def about_trainings(tuner: Any) -> dict[str, Any]:
    """Says how often a tuner trains each configuration, where that is more than once."""
    executions, cv = getattr(tuner, "executions_per_trial", 1), getattr(tuner, "cv", None)
    found: dict[str, Any] = {"executions_per_trial": executions} if executions > 1 else {}
    return found if cv is None else {**found, "cv": cv if isinstance(cv, int) else str(cv)}


def versions() -> dict[str, str]:
    """Returns the versions of what a search depends on, and the name of Keras's backend."""
    backend = keras.backend.backend()
    # By the module: the package may be called keras-nightly, or tensorflow-cpu.
    found = {"keras": keras.__version__} | {name: version(name) for name in _PACKAGES}
    of_backend = getattr(sys.modules.get(backend), "__version__", None)
    found |= {backend: str(of_backend)} if of_backend else {}
    return {**found, "python": platform.python_version(), "backend": backend}


def tags_of(trial: Any, oracle: Any, worker: str) -> dict[str, str]:
    """Returns the tags of a trial's run.

    Args:
        trial: Keras Tuner's trial.
        oracle: The oracle that proposed it.
        worker: The `tuner_id` of the tuner that runs it.
    """
    values = trial.hyperparameters.values
    tags = {tag: str(values[name]) for name, tag in _HYPERBAND.items() if name in values}
    number = oracle.number_of(trial.trial_id) if isinstance(oracle, OptunaOracle) else None
    if number is not None:
        tags["recdrop.optuna_number"] = str(number)
    return {"recdrop.worker": worker, **tags}


def _name(thing: Any) -> str:
    return thing if isinstance(thing, str) else type(thing).__name__


class TrainingReporter:
    """Reports the trainings of one trial after the other, in the process that trains.

    Args:
        emit: Takes the events.
    """

    def __init__(self, emit: Callable[[events.Event], None]) -> None:
        self._emit = emit
        self._apart = False
        self._trial_id = ""
        self._executions = 0

    def begins(self, trial_id: str) -> None:
        """Says which trial the next trainings belong to."""
        self._trial_id, self._executions = trial_id, 0

    def ends(self, trial_id: str) -> None:
        """Says that what is trained from here on is no part of a trial."""
        if trial_id == self._trial_id:
            self._trial_id = ""

    @contextmanager
    def apart(
        self, trial_id: str, repeat: int, seed: int, total: int, twin: bool = False
    ) -> Iterator[Callable[[float, int, dict[str, float]], None]]:
        """Reports a training that is no part of a trial: one of the confirmation.

        A failure is reported and goes no further: the other trainings are worth having.

        Args:
            trial_id: The trial whose configuration is trained once more.
            repeat: Which of its trainings it is.
            seed: Its seed.
            total: How many such trainings there will be.
            twin: Whether it is the twin of the configuration.

        Yields:
            A function for its score, best epoch and metrics.
        """
        started, self._apart = time.perf_counter(), True
        found: dict[str, Any] = {"score": None}

        def report(score: float, best_epoch: int, metrics: dict[str, float]) -> None:
            found.update(score=score, best_epoch=best_epoch, metrics=metrics)

        try:
            yield report
        except Exception as error:
            if is_storage_failure(error):  # It would be that of all others, too.
                raise
            found = {"score": None, "message": f"{type(error).__name__}: {error}"}
        finally:
            self._apart = False
        same: dict[str, Any] = {
            "trial_id": trial_id,
            "repeat": repeat,
            "seed": seed,
            "total": total,
            "twin": twin,
        }
        seconds = time.perf_counter() - started
        self._emit(events.ConfirmationEnded(**same, **found, seconds=seconds))

    def training_started(self) -> int:
        """Counts the trainings of the current trial; returns the number of this one."""
        self._executions += not self._apart
        return self._executions - 1

    def model_built(self, parameters: int, kernel: str | None) -> None:
        """Reports the size of the current trial's model, and its kernel."""
        if self._apart or not self._trial_id:
            return
        self._emit(events.ModelBuilt(trial_id=self._trial_id, parameters=parameters, kernel=kernel))

    def epoch_ended(
        self, execution: int, epoch: int, metrics: dict[str, float], seconds: float
    ) -> None:
        """Reports an epoch of the current trial."""
        if self._apart or not self._trial_id:
            return
        self._emit(
            events.EpochEnded(
                trial_id=self._trial_id,
                epoch=epoch,
                metrics=metrics,
                seconds=seconds,
                execution=execution,
            )
        )


class TrialReporter(TrainingReporter):
    """Reports the trials of one tuner, and the trainings in this process.

    Args:
        tuner: The tuner, with its own oracle.
        records: What is known of its trials.
        emit: Takes the events.
    """

    def __init__(self, tuner: Any, records: Records, emit: Callable[[events.Event], None]) -> None:
        super().__init__(emit)
        self._tuner = tuner
        self._oracle = tuner.oracle
        self._records = records
        self._begun: dict[str, float] = {}

    def trial_started(self, trial: Any) -> None:
        """Reports a new trial."""
        self.begins(trial.trial_id)
        self._begun[trial.trial_id] = time.monotonic()
        order = self._oracle.start_order
        self._emit(
            events.TrialStarted(
                trial_id=trial.trial_id,
                number=order.index(trial.trial_id),
                hyperparameters=readable(trial.hyperparameters),
                fixed=fixed_names(trial.hyperparameters),
                tags=tags_of(trial, self._oracle, self._worker_of(trial)),
                values=dict(trial.hyperparameters.values),
            )
        )

    def trial_reported(self, trial_id: str, metrics: dict[str, float], step: int) -> None:
        """Reports an epoch that a worker has told its chief of; elsewhere the training reports it."""
        record = self._records.trials.get(trial_id)
        if not is_chief() or record is None:
            return
        now, known = time.time(), [*record.epochs, *record.repeats]
        last = known[-1] if known else None
        execution = 0 if last is None else last.execution + (step <= last.epoch)
        self._emit(
            events.EpochEnded(
                trial_id=trial_id,
                epoch=step,
                metrics={name: float(value) for name, value in metrics.items()},
                seconds=max(0.0, now - record.last_sign),
                execution=execution,
                time=now,
            )
        )

    def epoch_ended(
        self, execution: int, epoch: int, metrics: dict[str, float], seconds: float
    ) -> None:
        """Reports an epoch, and ends the search if somebody has asked for that at once.

        Raises:
            KeyboardInterrupt: They have: it is ended as by Ctrl-C.
        """
        super().epoch_ended(execution, epoch, metrics, seconds)
        if is_asked_to_stop(self._tuner.project_dir, now=True):
            forget_stop(self._tuner.project_dir)
            raise KeyboardInterrupt

    def trial_ended(self, trial: Any, when: float | None = None) -> None:
        """Reports a trial's end, now or at another wall-clock time."""
        self.ends(trial.trial_id)
        status = events.STATES.get(trial.status, events.KILLED)
        begun = self._begun.pop(trial.trial_id, None)
        complete, best = status == events.COMPLETE, reached(trial, self._oracle.objective)
        self._emit(
            events.TrialEnded(
                trial_id=trial.trial_id,
                status=status,
                score=best.value,
                best_step=None if best.value is None else self._position(trial, best.step or 0),
                message=trial.message or (None if complete else self._nan_message(trial)),
                metrics=best.metrics,
                std=best.std,
                seconds=None if begun is None else time.monotonic() - begun,
                time=time.time() if when is None else when,
            )
        )

    def trial_interrupted(self, trial_id: str) -> None:
        """Reports that a trial is under way no more, and will begin anew when the search goes on."""
        self.ends(trial_id)
        begun = self._begun.pop(trial_id, None)
        seconds = None if begun is None else time.monotonic() - begun
        self._emit(events.TrialEnded(trial_id=trial_id, status=events.INTERRUPTED, seconds=seconds))

    def _worker_of(self, trial: Any) -> str:
        ongoing = self._oracle.ongoing_trials.items()
        names = (name for name, other in ongoing if other.trial_id == trial.trial_id)
        return str(next(names, self._tuner.tuner_id))

    def _position(self, trial: Any, best: int) -> int:
        """The position of the best epoch among the trial's: this package's tuner says its number."""
        if not isinstance(self._tuner, Tuner):
            return best
        record = self._records.trials.get(trial.trial_id)
        numbers = [each.epoch for each in record.epochs] if record else []
        return numbers.index(best) if best in numbers else best

    def _nan_message(self, trial: Any) -> str | None:
        """Keras Tuner fails a trial whose objective is NaN without a word."""
        if trial.score is None or not math.isnan(trial.score):
            return None
        name = objectives(self._oracle.objective)[0].name
        return f"`{name}` was NaN in every epoch; try a smaller learning rate"
