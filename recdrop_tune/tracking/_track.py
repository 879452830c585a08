"""`track`: attaches the tracking to any Keras Tuner tuner."""

from __future__ import annotations

import atexit
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from recdrop_tune.errors import invalid_argument
from recdrop_tune.oracle import first_value, objectives
from recdrop_tune.tracking import _events as events
from recdrop_tune.tracking._about import about_proposals, tags_of, versions
from recdrop_tune.tracking._background import Background
from recdrop_tune.tracking._datasets import describe_data
from recdrop_tune.tracking._dispatch import Dispatcher, TrackingWarning
from recdrop_tune.tracking._hooks import TrackedHyperModel, TrackedOracle
from recdrop_tune.tracking._journal import FILE, Journal
from recdrop_tune.tracking._mlflow import MLflowTracker
from recdrop_tune.tracking._models import check_model_name
from recdrop_tune.tracking._records import Records, fixed_names, readable, search_id
from recdrop_tune.tracking._stores import settle_requests
from recdrop_tune.tracking._system_metrics import SystemMetrics, check_system_metrics
from recdrop_tune.tracking._uris import absolute, check_databases, redact, resolve_uri
from recdrop_tune.tuner import Tuner

# The longest that the end of a search waits for MLflow to take the last events.
_FLUSH_SECONDS = 60.0
_STATES = {
    "COMPLETED": events.COMPLETE,
    "STOPPED": events.PRUNED,
    "FAILED": events.FAILED,
    "INVALID": events.RETRY,
}
_ENDED = ("COMPLETED", "STOPPED", "FAILED")


def track(
    tuner: Any,
    *,
    experiment: str,
    tracking_uri: str | None = None,
    listeners: Iterable[events.Listener] = (),
    space: str | None = None,
    info: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    register_model: str | None = None,
    system_metrics: bool = False,
) -> Tracking:
    """Records every trial of a tuner in MLflow and in a journal in its project folder.

    Call it before `tuner.search`. The tuner is changed in two public attributes only: `oracle` and
    `hypermodel` get stand-ins that hand everything on. MLflow is written to in a thread of its own;
    when it fails, the search goes on, a `TrackingWarning` says so, and the journal has every event.

    Args:
        tuner: Any `keras_tuner.Tuner`.
        experiment: Name of the MLflow experiment.
        tracking_uri: Where MLflow keeps its runs: a database or a server. By default what
            `MLFLOW_TRACKING_URI` says, else `sqlite:///mlflow.db`.
        listeners: Further listeners for the events, such as `Progress()`.
        space: The search space as YAML, kept as an artifact.
        info: Further parameters of the search's run, such as the number of epochs.
        data: The data sets by what they are for, `"training"`, `"validation"` or `"test"`; of each a
            description is kept.
        register_model: A name for the best model in MLflow's registry; by default it is not registered.
        system_metrics: Whether the use of the machine is recorded for each trial; see `SystemMetrics`.

    Returns:
        The tracking. It ends by itself with the search; close it if the search breaks off.

    Raises:
        InvalidArgumentError: The tracking URI is a folder, the database of an `OptunaOracle` too,
            or the tuner is tracked already.

    Example:
        >>> tuner = keras_tuner.Hyperband(build, "val_loss")
        >>> recdrop_tune.track(tuner, experiment="speech")
        >>> tuner.search(x, y, validation_data=(x_val, y_val))
    """
    if isinstance(tuner.oracle, TrackedOracle):
        raise invalid_argument("tuner", expected="one that is not tracked yet", received=tuner)
    check_model_name(register_model)
    if system_metrics:
        check_system_metrics()
    uri = resolve_uri(tracking_uri)
    check_databases(getattr(tuner.oracle, "storage", None), uri)
    tracking = Tracking(tuner, experiment, uri, listeners)
    tracking.space, tracking.info = space, dict(info or {})
    tracking.data = describe_data(data or {})
    tracking.register_model = register_model
    tracking.system_metrics = SystemMetrics(uri) if system_metrics else None
    tuner.oracle = TrackedOracle(tuner.oracle, tracking)
    if tuner.hypermodel is not None:
        tuner.hypermodel = TrackedHyperModel(tuner.hypermodel, tracking)
    return tracking


class Tracking:
    """The tracking of one tuner: turns what its hooks report into events. Made by `track`.

    Attributes:
        search_id: Identity of the search, kept when it goes on.
        experiment: Name of the MLflow experiment.
        tracking_uri: Where the runs are, without credentials.
        mlflow: The `MLflowTracker`.
        records: One record a trial, from all events so far, earlier sessions included.
        space: The search space as YAML.
        info: Further parameters of the search's run.
        data: Descriptions of the data sets.
        register_model: A name for the best model in MLflow's registry.
        system_metrics: What measures the machine, if it is to be measured.
        at_end: Saves what the search found, if it is given, before the search's run ends.
        goes_on_after_search: Whether the search's run stays open when the oracle has no more trials.
    """

    def __init__(
        self, tuner: Any, experiment: str, uri: str, listeners: Iterable[events.Listener]
    ) -> None:
        settle_requests(uri)
        journal = Journal(Path(tuner.project_dir, FILE))
        history = journal.read()
        self.search_id = search_id(history)
        self.experiment = experiment
        self.tracking_uri = redact(uri)
        self.mlflow = MLflowTracker(uri, Journal(journal.path))
        self.records = Records(history)
        self.space: str | None = None
        self.info: dict[str, Any] = {}
        self.data: list[dict[str, Any]] = []
        self.register_model: str | None = None
        self.system_metrics: SystemMetrics | None = None
        self.at_end: Callable[[Tracking], events.ResultSaved | None] | None = None
        self._tuner = tuner
        self._oracle = tuner.oracle
        what = f"MLflow at {self.tracking_uri}"
        self._background = Background(self.mlflow, what, journal)
        self._dispatcher = Dispatcher(journal, [self.records, *listeners, self._background])
        self.goes_on_after_search = False
        self._under_way = False
        self._apart = False
        self._trial_id = ""
        self._executions = 0

    @property
    def failure(self) -> str | None:
        """Why MLflow recorded nothing more, in one line without credentials; else `None`."""
        return self._background.failure

    @property
    def journal_path(self) -> Path:
        """The file that has every event, whatever became of MLflow."""
        return self._dispatcher.journal.path

    def close(self, status: str = "FINISHED") -> None:
        """Ends the search's run, unless the search has ended it, and waits for MLflow.

        Args:
            status: `FINISHED`, `FAILED` or `KILLED`.
        """
        if self._under_way:
            self._under_way = False
            atexit.unregister(self._close_at_exit)
            try:
                self._save_result()
            finally:
                self._dispatcher.emit(events.SearchEnded(status=status))
                self._background.flush(_FLUSH_SECONDS)
        self._dispatcher.journal.close()

    def _save_result(self) -> None:
        if self.at_end is None:
            return
        try:
            saved = self.at_end(self)
        except Exception as failure:
            what = f"{type(failure).__name__}: {failure}"
            warnings.warn(f"The result was not saved: {what}", TrackingWarning, stacklevel=3)
            return
        if saved is not None:
            self._dispatcher.emit(saved)

    def __enter__(self) -> Self:
        """Returns itself, to be closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Closes with the status that the block's end calls for."""
        if kind is None:
            self.close()
        else:
            self.close("FAILED" if issubclass(kind, Exception) else "KILLED")

    def search_goes_on(self) -> None:
        """Begins the search with the first trial that is asked for."""
        if self._under_way:
            return
        self._under_way = True
        atexit.register(self._close_at_exit)
        self._make_up_for_a_kill()
        objective = objectives(self._oracle.objective)[0]
        self._dispatcher.emit(
            events.SearchStarted(
                search_id=self.search_id,
                name=self._tuner.project_name,
                experiment=self.experiment,
                tuner=_tuner_name(self._tuner, self._oracle),
                objective=objective.name,
                direction=objective.direction,
                max_trials=self._oracle.max_trials,
                space=self.space,
                info={**about_proposals(self._oracle), **self.info, **versions()},
                data=self.data,
                register_model=self.register_model,
                tracking_uri=absolute(self.tracking_uri),
            )
        )

    def _make_up_for_a_kill(self) -> None:
        """Reports the ends of trials that the oracle had saved, but no event had told of."""
        trials = getattr(self._oracle, "trials", {})  # Keras Tuner's client of a chief has none.
        for trial_id, record in self.records.trials.items():
            trial = trials.get(trial_id)
            if trial is not None and record.ended is None and trial.status in _ENDED:
                saved = Path(self._tuner.get_trial_dir(trial_id), "trial.json")
                self.trial_ended(trial, saved.stat().st_mtime)

    def search_is_over(self) -> None:
        """Ends the search, unless something comes after it."""
        if not self.goes_on_after_search:
            self.close()

    @contextmanager
    def apart(
        self, trial_id: str, repeat: int, seed: int, total: int
    ) -> Iterator[Callable[[float, int, dict[str, float]], None]]:
        """Has a training that is no trial's tracked by itself.

        A failure is reported and goes no further: the other trainings are worth having.

        Args:
            trial_id: The trial whose configuration is trained once more.
            repeat: Which of its trainings it is.
            seed: Its seed.
            total: How many such trainings there will be.

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
            found = {"score": None, "message": f"{type(error).__name__}: {error}"}
        finally:
            self._apart = False
        same: dict[str, Any] = {
            "trial_id": trial_id,
            "repeat": repeat,
            "seed": seed,
            "total": total,
        }
        seconds = time.perf_counter() - started
        self._dispatcher.emit(events.ConfirmationEnded(**same, **found, seconds=seconds))

    def trial_started(self, trial: Any) -> None:
        """Takes note of a new trial."""
        self._trial_id, self._executions = trial.trial_id, 0
        order = self._oracle.start_order
        self._dispatcher.emit(
            events.TrialStarted(
                trial_id=trial.trial_id,
                number=order.index(trial.trial_id),
                hyperparameters=readable(trial.hyperparameters),
                fixed=fixed_names(trial.hyperparameters),
                tags=tags_of(trial, self._oracle, self._tuner.tuner_id),
            )
        )

    def trial_ended(self, trial: Any, when: float | None = None) -> None:
        """Takes note of a trial's end, now or at another wall-clock time."""
        status = _STATES.get(trial.status, events.KILLED)
        complete = status == events.COMPLETE
        self._dispatcher.emit(
            events.TrialEnded(
                trial_id=trial.trial_id,
                status=status,
                score=first_value(trial, self._oracle.objective) if complete else None,
                best_step=self._position(trial) if complete else None,
                message=trial.message or (None if complete else self._nan_message(trial)),
                time=time.time() if when is None else when,
            )
        )

    def training_started(self) -> int:
        """Counts the trainings of the current trial; returns the number of this one."""
        self._executions += not self._apart
        return self._executions - 1

    def model_built(self, parameters: int, kernel: str | None) -> None:
        """Takes note of the size of the current trial's model, and of its kernel."""
        if self._apart:
            return
        self._dispatcher.emit(
            events.ModelBuilt(trial_id=self._trial_id, parameters=parameters, kernel=kernel)
        )

    def epoch_ended(
        self, execution: int, epoch: int, metrics: dict[str, float], seconds: float
    ) -> None:
        """Takes note of an epoch of the current trial."""
        if self._apart:
            return
        self._dispatcher.emit(
            events.EpochEnded(
                trial_id=self._trial_id,
                epoch=epoch,
                metrics=metrics,
                seconds=seconds,
                execution=execution,
            )
        )

    def _position(self, trial: Any) -> int:
        """The position of the best epoch among the trial's: this package's tuner says its number."""
        best = int(trial.best_step or 0)
        if not isinstance(self._tuner, Tuner):
            return best
        record = self.records.trials.get(trial.trial_id)
        numbers = [each.epoch for each in record.epochs] if record else []
        return numbers.index(best) if best in numbers else best

    def _nan_message(self, trial: Any) -> str | None:
        """Keras Tuner fails a trial whose objective is NaN without a word."""
        if trial.score is None or not math.isnan(trial.score):
            return None
        name = objectives(self._oracle.objective)[0].name
        return f"`{name}` was NaN in every epoch; try a smaller learning rate"

    def _close_at_exit(self) -> None:
        self.close("KILLED")


def _tuner_name(tuner: Any, oracle: Any) -> str:
    """`Hyperband`, `RandomSearch`; a plain `Tuner` is told by its oracle."""
    name = type(tuner).__name__
    return type(oracle).__name__ if name == "Tuner" else name
