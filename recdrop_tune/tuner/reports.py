"""Reports the epochs of a trial to its oracle, which can stop the trial, and as events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import keras_tuner as kt
from keras_tuner.engine.trial import TrialStatus

from recdrop_tune import events
from recdrop_tune.catalog import MILLISECONDS
from recdrop_tune.errors import is_disk_failure
from recdrop_tune.hypermodels import Extension
from recdrop_tune.models import explain, learned_rates
from recdrop_tune.oracle import forget_metrics
from recdrop_tune.tuner.callbacks import is_local
from recdrop_tune.tuner.outcomes import FIT, NoFiniteObjectiveError, explicit_outcome, numbers

Curve = list[tuple[int, dict[str, float], float]]
"""The epochs of a training: Keras's number, metrics and seconds."""

_LAST_EPOCHS, _LAST_SHARE = 2, 0.1
"""A trial with at most this many epochs left, or less than this share, is trained to its end.

Stopping it would save next to nothing, and lose its score.
"""


def is_nearly_over(epoch: int, epochs: int | None) -> bool:
    """Returns whether a training is too close to its end to be stopped after an epoch, counted from 0."""
    if epochs is None:
        return False
    left = epochs - (epoch + 1)
    return left <= _LAST_EPOCHS or left < _LAST_SHARE * epochs


def forget_reports(oracle: Any, trial_id: str) -> None:
    """Takes back what was reported of a trial to an oracle or to a stand-in for one."""
    if is_local(oracle):
        forget_metrics(oracle.get_trial(trial_id))
    else:
        oracle.forget_metrics(trial_id)


class TrialReport:
    """The reported epochs of the trainings of one trial.

    The oracle gets each training's epochs under the same numbers, so that it sees the mean over the
    trainings of each epoch. The best of these means is the trial's score. A training that stops early keeps
    its best score for the remaining epochs, as early stopping keeps its weights.
    """

    def __init__(self, oracle: Any, trial_id: str) -> None:
        self._oracle = oracle
        self._trial_id = trial_id
        self._curves: list[dict[int, dict[str, float]]] = []
        self._history: Any = None
        self.stopped = False

    def begin(self) -> None:
        """Begins the next training."""
        self._curves.append({})
        self._history = None

    def begin_fit(self, history: Any) -> None:
        """Begins a `Model.fit` of the current training. With several of them, the last one counts."""
        self._forget_epochs()
        self._curves[-1], self._history = {}, history

    def add(self, epoch: int, metrics: dict[str, float], epochs: int | None = None) -> None:
        """Reports an epoch of the current training. Only the first training can be stopped.

        An epoch without the objective (`validation_freq`) is left out.
        """
        if not self.measures(metrics):
            return
        self._curves[-1][epoch] = metrics
        if not math.isfinite(self.value(metrics)):
            return
        answer = self._send(metrics, epoch)
        if (
            answer == TrialStatus.STOPPED
            and len(self._curves) == 1
            and not is_nearly_over(epoch, epochs)
        ):
            self.stopped = True

    def repeat(self, curve: Curve) -> None:
        """Reports epochs that an interrupted process has trained. They did not stop the trial."""
        for epoch, metrics, _ in curve:
            self.add(epoch, metrics)
        self.stopped = False

    def take(self, results: Any, best: BestWeights, model: Any) -> None:
        """Takes the results of a `fit`, unless they are the history of the reported epochs.

        Then `best` gets the model's weights, unless it has those of an epoch.
        """
        measured = bool(self._curves[-1])
        # A user-defined loop has its own history.
        reported = self._history is None or results is self._history
        if isinstance(results, keras.callbacks.History) and measured and reported:
            return
        metrics, epoch = explicit_outcome(results, self._objective, FIT)
        if model is not None and not measured:
            best.offer(model, metrics, self)
        self._forget_epochs()
        self._curves[-1] = {epoch: metrics}
        if math.isfinite(self.value(metrics)):
            self._send(metrics, epoch)

    def finish(self) -> None:
        """Fills up trainings that stopped early; raises `NoFiniteObjectiveError` without an objective."""
        if not any(math.isfinite(self.value(m)) for curve in self._curves for m in curve.values()):
            raise NoFiniteObjectiveError(self._objective.name)
        if len(self._curves) == 1:
            return
        epochs = sorted({epoch for curve in self._curves for epoch in curve})
        for curve in self._curves:
            best = self._best(curve)
            for epoch in epochs:
                counts = epoch in curve and math.isfinite(self.value(curve[epoch]))
                if not counts and best is not None:
                    self._send(best, epoch)

    def measures(self, metrics: dict[str, float]) -> bool:
        """Returns whether the objective is among the metrics of an epoch."""
        return self._objective.name in metrics or bool(self._objective.has_value(metrics))

    def value(self, metrics: dict[str, float]) -> float:
        """Returns the objective of an epoch."""
        whole = metrics.get(self._objective.name)
        return float(self._objective.get_value(metrics) if whole is None else whole)

    def is_better(self, value: float, other: float | None) -> bool:
        """Returns whether a value of the objective is better than another; NaN never is."""
        if not math.isfinite(value):
            return False
        return other is None or bool(self._objective.better_than(value, other))

    def _forget_epochs(self) -> None:
        """Takes the reported epochs of the current training back."""
        if not self._curves[-1]:
            return
        forget_reports(self._oracle, self._trial_id)
        for curve in self._curves[:-1]:
            for epoch, earlier in curve.items():
                self._send(earlier, epoch)

    @property
    def _objective(self) -> Any:
        return self._oracle.objective

    def _best(self, curve: dict[int, dict[str, float]]) -> dict[str, float] | None:
        best: dict[str, float] | None = None
        for metrics in curve.values():
            if self.is_better(self.value(metrics), None if best is None else self.value(best)):
                best = metrics
        return best

    def _send(self, metrics: dict[str, float], epoch: int) -> str:
        every = {**metrics, self._objective.name: self.value(metrics)}
        # Keras Tuner cannot average a metric without finite values.
        sent = {name: value for name, value in every.items() if math.isfinite(value)}
        return str(self._oracle.update_trial(self._trial_id, sent, step=epoch).status)


class StepTimer(keras.callbacks.Callback):
    """Adds `ms_per_step` to the metrics of each epoch.

    The first call of each epoch does not count if there are others: it can trace and compile. With
    `steps_per_execution`, a call is several steps.
    """

    counts_steps = True  # See `recdrop_tune.models.fit`.

    def __init__(self) -> None:
        super().__init__()
        self._started = self._first = self._last = 0.0
        self._calls = self._steps = self._first_steps = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the clock."""
        self._started, self._calls, self._steps = time.perf_counter(), 0, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes the time."""
        self._last, self._calls = time.perf_counter(), self._calls + 1
        # In the last call of an epoch, Keras's batch number can be too large.
        last = (self.params or {}).get("steps") or batch + 1
        self._steps = max(self._calls, min(batch + 1, last))
        if self._calls == 1:
            self._first, self._first_steps = self._last, self._steps

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the metric, as Keras's own callbacks write the learning rate."""
        if logs is None or not self._steps:
            return
        began, steps = self._first, self._steps - self._first_steps
        if not steps:
            began, steps = self._started, self._steps
        logs[MILLISECONDS] = (self._last - began) / steps * 1000.0


class EpochReporter(StepTimer):
    """Reports each epoch of a training: to the oracle of its trial, and as an event of a tracked search.

    For the oracle it also keeps the best weights, and stops a pruned trial. In events, the metrics of every
    tuner have the rates that a model learns and `ms_per_step`, measured here if the training does not.

    `report` is None if the tuner reports to the oracle itself, as Keras Tuner's own do. An interrupted
    process can have left `curves` of the trial, which are reported again, and the `best` weights of the last
    one. `ReportsEpochs` sets `events` in a tracked search.
    """

    def __init__(
        self,
        report: TrialReport | None = None,
        curves: Sequence[Curve] = (),
        best: BestWeights | None = None,
    ) -> None:
        super().__init__()
        self._report, self._curves, self._best = report, curves, best
        self._history: Any = None
        self.best_weights, self._weights = BestWeights(), BestWeights()
        self.events: TrainingReporter | None = None
        self._execution = 0
        self._is_model_reported = False
        self.curve: Curve = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Counts the trainings of one trial, and reports those of an interrupted process again."""
        kept = sum(map(len, self._curves))
        for curve in self._curves or [[]]:
            self.curve = [*curve]
            if self.events is not None:
                self._execution = self.events.training_started()
                for epoch, metrics, seconds in curve:
                    self.events.epoch_ended(self._execution, epoch, metrics, seconds, kept)
                    kept -= 1
        if self._best is not None and self._report is not None:
            self._begin_fit(self._report)
            self._report.repeat(self.curve)
            self._weights = self._best
            self.best_weights.take_better(self._weights, self._report)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Reports."""
        seconds, metrics = time.perf_counter() - self._started, numbers(logs or {})
        if self._report is not None:
            self._report_to_oracle(self._report, epoch, metrics)
        self.curve.append((epoch, metrics, seconds))
        if self.events is None:
            return
        is_first = self._execution == 0 or bool(self._curves)
        if is_first and not self._is_model_reported:
            self._is_model_reported = True
            self.events.model_built(int(self.model.count_params()), kernels_of(self.model))
        metrics = {**learned_rates(self.model), **metrics}
        if MILLISECONDS not in metrics:
            super().on_epoch_end(epoch, metrics)
        self.events.epoch_ended(self._execution, epoch, metrics, seconds)

    def _report_to_oracle(self, report: TrialReport, epoch: int, metrics: dict[str, float]) -> None:
        if getattr(self.model, "history", None) is not self._history:
            self._begin_fit(report)
        # A user-defined loop may not set the number of epochs.
        report.add(epoch, metrics, (self.params or {}).get("epochs"))
        self._weights.offer(self.model, metrics, report)
        self.best_weights.take_better(self._weights, report)
        # After a NaN loss all weights are NaN.
        if report.stopped or math.isnan(metrics.get("loss", 0.0)):
            self.model.stop_training = True

    def _begin_fit(self, report: TrialReport) -> None:
        self._history, self._weights = getattr(self.model, "history", None), BestWeights()
        report.begin_fit(self._history)

    def weights_of(self, results: Any) -> BestWeights:
        """Returns the best weights of a training: of its last `fit` if the results are that one's history."""
        return self._weights if results is self._history else self.best_weights


class TrainingReporter:
    """Reports the trainings of trials, in the process that trains."""

    def __init__(self, emit: Callable[[events.Event], None]) -> None:
        self._emit = emit
        self._confirms = False
        self._trial_id = ""
        self._executions = 0

    def begins(self, trial_id: str) -> None:
        """Called before the trainings of a trial."""
        self._trial_id, self._executions = trial_id, 0

    def ends(self, trial_id: str) -> None:
        """Called after the trainings of a trial; what is trained from here on belongs to no trial."""
        if trial_id == self._trial_id:
            self._trial_id = ""

    @contextmanager
    def apart(
        self, configuration: events.Configuration, repeat: int, seed: int
    ) -> Iterator[Callable[[float, int, dict[str, float]], None]]:
        """Reports a training of the confirmation, by the function it yields; it belongs to no trial.

        A failure is reported and not raised, because the other trainings are still worth having. An error
        that ends the search is not a failure of the configuration.
        """
        started, self._confirms = time.perf_counter(), True
        outcome: dict[str, Any] = {"score": None}

        def report(score: float, best_epoch: int, metrics: dict[str, float]) -> None:
            outcome.update(score=score, best_epoch=best_epoch, metrics=metrics)

        try:
            yield report
        except kt.errors.FatalError:
            raise
        except Exception as error:
            if is_disk_failure(error):  # Every other training would fail too.
                raise
            outcome = {"score": None, "message": f"{type(error).__name__}: {error}"}
        finally:
            self._confirms = False
        outcome["seconds"] = time.perf_counter() - started
        about: dict[str, Any] = {**configuration._asdict(), "repeat": repeat, "seed": seed}
        self._emit(events.ConfirmationEnded(**about, **outcome))

    def training_started(self) -> int:
        """Counts the trainings of the current trial; returns the number of this one, from 0."""
        if not self._confirms:
            self._executions += 1
        return self._executions - 1

    def model_built(self, parameters: int, kernel: str | None) -> None:
        """Reports the size of the current trial's model, and its kernel."""
        if self._trial_id and not self._confirms:
            about: dict[str, Any] = {"parameters": parameters, "kernel": kernel}
            self._emit(events.ModelBuilt(trial_id=self._trial_id, **about))

    def epoch_ended(
        self, execution: int, epoch: int, metrics: dict[str, float], seconds: float, kept: int = 0
    ) -> None:
        """Reports an epoch of the current trial; see `EpochEnded`."""
        if self._trial_id and not self._confirms:
            about: dict[str, Any] = {"epoch": epoch, "metrics": metrics, "seconds": seconds}
            about |= {"execution": execution, "kept": kept}
            self._emit(events.EpochEnded(trial_id=self._trial_id, **about))


class ReportsEpochs(Extension):
    """Reports the epochs of a hypermodel's trainings as events of a tracked search."""

    def __init__(self, events: TrainingReporter) -> None:
        self._events = events

    def fit(self, fit: Callable[..., Any], hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Fits the model; the callback is the tuner's, or a new one for Keras Tuner's own."""
        callbacks = list(kwargs.pop("callbacks", None) or ())
        reporter = next((each for each in callbacks if isinstance(each, EpochReporter)), None)
        if reporter is None:
            reporter = EpochReporter()
            callbacks.append(reporter)
        reporter.events = self._events
        return fit(hp, model, *args, callbacks=callbacks, **kwargs)


_SHORT = {"fused CPU op": "fused CPU", "step loop": "loop"}
"""Short names for the kernels of `explain`, because a column has to hold them."""


def kernels_of(model: Any) -> str | None:
    """Returns the kernels that the recurrent layers of a built model train on here, joined by `+`.

    None for a model without recurrent layers, and if it is not known.
    """
    try:
        kernels = [row.kernel for row in explain(model).rows]
    except Exception:  # A trial must not fail because its model cannot be described.
        return None
    return "+".join(dict.fromkeys(_SHORT.get(kernel, kernel) for kernel in kernels)) or None


class BestWeights:
    """Keeps the weights of the best epoch of all trainings of a trial, in memory; None without an epoch."""

    def __init__(self, value: float | None = None, weights: list[Any] | None = None) -> None:
        self.value, self.weights = value, weights

    def offer(self, model: Any, metrics: dict[str, float], report: TrialReport) -> None:
        """Takes the weights of a model if its epoch is the best so far."""
        if not report.measures(metrics):
            return
        value = report.value(metrics)
        if report.is_better(value, self.value):
            self.value, self.weights = value, model.get_weights()

    def take_better(self, other: BestWeights, report: TrialReport) -> None:
        """Takes the weights of another one, if their epoch is better."""
        if other.value is not None and report.is_better(other.value, self.value):
            self.value, self.weights = other.value, other.weights
