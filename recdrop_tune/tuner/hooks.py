"""What `track` puts in the place of a tuner's oracle, and adds to its hypermodel, to learn of its events."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import keras
import keras_tuner as kt

from recdrop_tune.hypermodels import Extension
from recdrop_tune.models import explain, learned_rates
from recdrop_tune.oracle import ended_trial
from recdrop_tune.storage_errors import is_storage_failure
from recdrop_tune.tuner.outcomes import numbers
from recdrop_tune.tuner.reports import MILLISECONDS, StepTimer

# Names the kernels that the recurrent layers of a model train on.

# As `explain` calls them, and in a word: a column has to hold them.
_SHORT = {"fused CPU op": "fused CPU", "step loop": "loop"}


def kernels_of(model: Any) -> str | None:
    """Says what the training steps of a model's recurrent layers run on here.

    Args:
        model: A model that has been built.

    Returns:
        `"cuDNN"`, `"fused CPU"` or `"loop"`; several, joined by `+`, where layers differ, in their order;
        `None` for a model without a recurrent layer, and where it cannot be told.
    """
    try:
        kernels = [row.kernel for row in explain(model).rows]
    except Exception:  # A trial must not fail for a remark on it.
        return None
    return "+".join(dict.fromkeys(_SHORT.get(kernel, kernel) for kernel in kernels)) or None


class Search(Protocol):
    """Listens to a search: it goes on, and it is over."""

    def search_goes_on(self) -> None:
        """Called when a search begins, or goes on in its folder."""

    def begins_more(self) -> bool:
        """Says whether another trial may begin."""

    def search_is_over(self) -> None:
        """Called after the last trial."""


class Trainings(Protocol):
    """Listens to the trainings of a trial."""

    def training_started(self) -> int:
        """Returns the number of the training among those of its trial, from 0 on."""

    def model_built(self, parameters: int, kernel: str | None) -> None:
        """Called with the number of weights and the kernel of the recurrent layers."""

    def epoch_ended(
        self, execution: int, epoch: int, metrics: dict[str, float], seconds: float
    ) -> None:
        """Called with the metrics of an epoch and the seconds it took."""


class Trials(Protocol):
    """Listens to the trials of an oracle."""

    def trial_started(self, trial: Any) -> None:
        """Called with a trial that is about to be trained."""

    def trial_reported(self, trial_id: str, metrics: dict[str, float], step: int) -> None:
        """Called with the metrics of a trial at a step, which is an epoch."""

    def trial_ended(self, trial: Any) -> None:
        """Called with a trial that has its final state and score."""


class TrackedOracle:
    """Stands in for an oracle, hands every call on, and reports what came of four of them.

    Reading and setting any other attribute reaches the oracle itself. What the oracle does on its
    own account does not pass through here.

    Args:
        oracle: The oracle.
        search: Who is told of the search.
        reporter: Who is told of trials.
    """

    __slots__ = ("_oracle", "_reporter", "_search")

    def __init__(self, oracle: Any, search: Search, reporter: Trials) -> None:
        object.__setattr__(self, "_oracle", oracle)
        object.__setattr__(self, "_search", search)
        object.__setattr__(self, "_reporter", reporter)

    def create_trial(self, tuner_id: str) -> Any:
        """Creates a trial and reports it, or the end of the search."""
        self._search.search_goes_on()
        # Several processes may train one trial together, under one id.
        may_begin = tuner_id in self._oracle.ongoing_trials or self._search.begins_more()
        trial = self._oracle.create_trial(tuner_id) if may_begin else self._no_trial(tuner_id)
        if trial.status == "RUNNING":
            self._reporter.trial_started(trial)
        elif trial.status == "STOPPED":
            self._search.search_is_over()
        return trial

    def _no_trial(self, tuner_id: str) -> Any:
        """Answers that there is no trial: after the last one, or as long as another worker has one."""
        waits = bool(self._oracle.ongoing_trials)
        if not waits:
            self._oracle.tuner_ids.discard(tuner_id)
        return kt.engine.trial.Trial(
            self._oracle.get_space(), trial_id="", status="IDLE" if waits else "STOPPED"
        )

    def update_trial(self, trial_id: str, metrics: Any, step: int = 0) -> Any:
        """Takes an epoch of a trial, and reports it."""
        answer = self._oracle.update_trial(trial_id, metrics, step=step)
        self._reporter.trial_reported(trial_id, dict(metrics), int(step))
        return answer

    def end_trial(self, trial: Any = None, status: str = "COMPLETED", **old: Any) -> Any:
        """Ends a trial, which may be named by its id, and reports how."""
        trial = ended_trial(self._oracle, trial, status, **old)
        try:
            answer = self._oracle.end_trial(trial)
        except Exception as error:
            # Keras Tuner raises here after too many failures, and that trial has ended too. One whose end
            # could not be written runs again.
            if not is_storage_failure(error):
                self._reporter.trial_ended(self._oracle.get_trial(trial.trial_id))
            raise
        self._reporter.trial_ended(self._oracle.get_trial(trial.trial_id))
        return answer

    def __getattr__(self, name: str) -> Any:
        if name in TrackedOracle.__slots__:  # Copying looks for them before they are there.
            raise AttributeError(name)
        return getattr(self._oracle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._oracle, name, value)


class ReportsEpochs(Extension):
    """Adds a callback to the `fit` of a hypermodel that reports its trainings.

    Args:
        reporter: Who is told.
    """

    def __init__(self, reporter: Trainings) -> None:
        self._reporter = reporter

    def fit(self, fit: Callable[..., Any], hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Fits the model."""
        callbacks = [*(kwargs.pop("callbacks", None) or []), EpochReporter(self._reporter)]
        return fit(hp, model, *args, callbacks=callbacks, **kwargs)


class EpochReporter(keras.callbacks.Callback):
    """Reports the metrics and the duration of every epoch, and the size of the model.

    An epoch has the metric `ms_per_step` with any tuner, and the rates that a model learns: where they are
    not there yet, they are measured.
    """

    counts_steps = True  # See `recdrop_tune.models.fit`.

    def __init__(self, reporter: Trainings) -> None:
        super().__init__()
        self._reporter = reporter
        self._execution = 0
        self._counted = False
        self._started = 0.0
        self._timer = StepTimer()

    def on_train_begin(self, logs: Any = None) -> None:
        """Counts the trainings of one trial."""
        self._execution = self._reporter.training_started()
        self._timer.set_params(self.params)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the clock."""
        self._started = time.perf_counter()
        self._timer.on_epoch_begin(epoch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes the time of a step."""
        self._timer.on_train_batch_end(batch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Reports the epoch."""
        seconds = time.perf_counter() - self._started
        if self._execution == 0 and not self._counted:
            self._counted = True
            self._reporter.model_built(int(self.model.count_params()), kernels_of(self.model))
        metrics = {**learned_rates(self.model), **numbers(logs or {})}
        if MILLISECONDS not in metrics:
            self._timer.on_epoch_end(epoch, metrics)
        self._reporter.epoch_ended(self._execution, epoch, metrics, seconds)
