"""What `track` adds to any tuner to learn of its trials: an oracle around its oracle, and a callback."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import keras_tuner as kt

from recdrop_tune.hypermodels import Extension
from recdrop_tune.models import explain, learned_rates
from recdrop_tune.storage_errors import is_storage_failure
from recdrop_tune.tuner.outcomes import numbers
from recdrop_tune.tuner.recording import TrainingReporter, TrialReporter
from recdrop_tune.tuner.reports import MILLISECONDS, StepTimer

_SHORT = {"fused CPU op": "fused CPU", "step loop": "loop"}
"""Short names for the kernels of `explain`, because a column has to hold them."""


def kernels_of(model: Any) -> str | None:
    """Returns the kernels that the recurrent layers of a model train on here.

    Args:
        model: A model that has been built.

    Returns:
        `"cuDNN"`, `"fused CPU"` or `"loop"`, joined by `+` if layers differ; `None` for a model without
        recurrent layers, and if it is not known.
    """
    try:
        kernels = [row.kernel for row in explain(model).rows]
    except Exception:  # A trial must not fail because its model cannot be described.
        return None
    return "+".join(dict.fromkeys(_SHORT.get(kernel, kernel) for kernel in kernels)) or None


class Search(Protocol):
    """Listens to a search."""

    def begin_search(self) -> None:
        """Called before each trial."""

    def can_begin(self) -> bool:
        """Returns whether another trial may start."""

    def end_search(self) -> None:
        """Called after the last trial."""


class TrackedOracle:
    """Forwards every call to an oracle, and reports the trials that start, report an epoch, or end.

    Reading and setting attributes reaches the oracle itself. Calls that the oracle makes to itself are not
    reported.

    Args:
        oracle: The oracle.
        search: Listens to the search.
        reporter: Listens to its trials.
    """

    __slots__ = ("_oracle", "_reporter", "_search")

    def __init__(self, oracle: Any, search: Search, reporter: TrialReporter) -> None:
        object.__setattr__(self, "_oracle", oracle)
        object.__setattr__(self, "_search", search)
        object.__setattr__(self, "_reporter", reporter)

    def create_trial(self, tuner_id: str) -> Any:
        """Creates a trial and reports it, or the end of the search."""
        self._search.begin_search()
        # Several processes can train one trial together, under one id.
        may_start = tuner_id in self._oracle.ongoing_trials or self._search.can_begin()
        trial = self._oracle.create_trial(tuner_id) if may_start else self._no_trial(tuner_id)
        if trial.status == "RUNNING":
            self._reporter.trial_started(trial)
        elif trial.status == "STOPPED":
            self._search.end_search()
        return trial

    def _no_trial(self, tuner_id: str) -> Any:
        """Returns an idle trial while other workers still have one, else one that ends the search."""
        waits = bool(self._oracle.ongoing_trials)
        if not waits:
            self._oracle.tuner_ids.discard(tuner_id)
        status = "IDLE" if waits else "STOPPED"
        return kt.engine.trial.Trial(self._oracle.get_space(), trial_id="", status=status)

    def update_trial(self, trial_id: str, metrics: Any, step: int = 0) -> Any:
        """Hands on an epoch of a trial, and reports it."""
        answer = self._oracle.update_trial(trial_id, metrics, step=step)
        self._reporter.trial_reported(trial_id, dict(metrics), int(step))
        return answer

    def end_trial(self, trial: Any) -> Any:
        """Ends a trial, and reports its end."""
        try:
            answer = self._oracle.end_trial(trial)
        except Exception as error:
            # After too many failures Keras Tuner raises, and the trial has ended all the same. A trial whose
            # end could not be written runs again.
            if not is_storage_failure(error):
                self._reporter.trial_ended(self._oracle.get_trial(trial.trial_id))
            raise
        self._reporter.trial_ended(self._oracle.get_trial(trial.trial_id))
        return answer

    def __getattr__(self, name: str) -> Any:
        if name in TrackedOracle.__slots__:  # `copy` looks for them before they exist.
            raise AttributeError(name)
        return getattr(self._oracle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._oracle, name, value)


class ReportsEpochs(Extension):
    """Adds a callback to the `fit` of a hypermodel that reports its trainings.

    Args:
        reporter: Receives the reports.
    """

    def __init__(self, reporter: TrainingReporter) -> None:
        self._reporter = reporter

    def fit(self, fit: Callable[..., Any], hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Fits the model."""
        callbacks = [*(kwargs.pop("callbacks", None) or []), _EpochRecorder(self._reporter)]
        return fit(hp, model, *args, callbacks=callbacks, **kwargs)


class _EpochRecorder(StepTimer):
    """Reports the metrics and the duration of every epoch, and the size of the model.

    Every tuner gets the metric `ms_per_step` and the rates that a model learns. If the training does not
    measure `ms_per_step` itself, it is measured here.
    """

    def __init__(self, reporter: TrainingReporter) -> None:
        super().__init__()
        self._reporter = reporter
        self._execution = 0
        self._counted = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Counts the trainings of one trial."""
        self._execution = self._reporter.training_started()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Reports the epoch."""
        seconds = time.perf_counter() - self._started
        if self._execution == 0 and not self._counted:
            self._counted = True
            self._reporter.model_built(int(self.model.count_params()), kernels_of(self.model))
        metrics = {**learned_rates(self.model), **numbers(logs or {})}
        if MILLISECONDS not in metrics:
            super().on_epoch_end(epoch, metrics)
        self._reporter.epoch_ended(self._execution, epoch, metrics, seconds)
