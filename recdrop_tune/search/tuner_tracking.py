"""`track`: records any Keras Tuner tuner in MLflow, and saves the result when the search ends."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras_tuner as kt

from recdrop_tune.addresses import absolute, resolve_uri
from recdrop_tune.backends import check_training
from recdrop_tune.data_description import describe_data
from recdrop_tune.errors import hide, invalid_argument
from recdrop_tune.events import (
    EXHAUSTED,
    MAX_TRIALS,
    Context,
    Listener,
    NoMoreTrials,
    Process,
    ResultSaved,
)
from recdrop_tune.files import JOURNAL, SEARCH, check_folder, read_object
from recdrop_tune.hypermodels import extended
from recdrop_tune.hyperparameters import Hyperparameter
from recdrop_tune.journal import Dispatcher, Journal
from recdrop_tune.oracle import OptunaOracle, exhausted, fewer_than_trials, read_space
from recdrop_tune.records import Records
from recdrop_tune.results import (
    ModelComparison,
    TuneResult,
    read_records,
    save_comparison,
    save_result,
)
from recdrop_tune.search.settings import EXPERIMENT, MLflow, SearchConfig
from recdrop_tune.session import SearchDescription, SearchSession
from recdrop_tune.tuner import ReportsEpochs, TrackedOracle, TrialReporter, describe_search


def with_active(
    tracking: MLflow | None, default: str = EXPERIMENT, folder: str | Path | None = None
) -> MLflow | None:
    """Completes settings by MLflow's active run, and the experiment of the search in the folder."""
    if tracking is None:
        return None
    from recdrop_tune.mlflow_store import in_context  # Here, because it imports MLflow.

    uri, search = tracking.store(), None
    if folder is not None:
        # The search itself reports a folder that it cannot use.
        with suppress(OSError, ValueError):
            search = Records(Journal(Path(folder) / JOURNAL).read(epochs=False)).search
    experiment = search.experiment if search else None
    name, tags = in_context(uri, tracking.experiment or experiment)
    return replace(tracking, experiment=name or default, uri=uri, tags=tags | tracking.tags)


def track(
    tuner: Any,
    tracking: str | MLflow | bool | None = True,
    *,
    listeners: Iterable[Listener] = (),
    space: str | None = None,
    info: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    context: Context | None = None,
) -> SearchSession:
    """Records every trial of a tuner in MLflow and in a journal in its project folder.

    Call it before `tuner.search`. It changes only two public attributes of the tuner: stand-ins replace
    `oracle` and `hypermodel`, and pass everything on. A separate thread writes to MLflow. If that fails, the
    search continues with a `TrackingWarning`, and the journal has every event. What MLflow missed is
    written when it is back, or by `sync`.

    For a server, `MLFLOW_HTTP_REQUEST_TIMEOUT` is set to 10 seconds and `MLFLOW_HTTP_REQUEST_MAX_RETRIES`
    to 0 in this process, unless they are set.

    When the search ends, the folder `result` of the project gets a report, tables and the best model.

    Args:
        tuner: Any `keras_tuner.Tuner`.
        tracking: Name of the MLflow experiment, by default the active one or else the tuner's
            `project_name`; or `MLflow`. `None` or `False` writes the journal alone.
        listeners: Further listeners for the events, such as `Progress()`.
        space: The search space as YAML, stored as an artifact.
        info: Further parameters of the search's run, such as the number of epochs.
        data: The data sets by purpose, `"training"`, `"validation"` or `"test"`: arrays `(x, y)` or a
            dataset. MLflow gets their shapes and a digest, not the data.
        context: A description of the search for its summary; `tune` fills it in.

    Returns:
        The session of the search. It ends with the search; close it if the search fails.

    Raises:
        InvalidArgumentError: An `OptunaOracle` uses MLflow's database, or the tuner is tracked already.
        ProjectError: The tuner has trials that its journal lacks: it was lost, or they were not tracked.

    Example:
        >>> tuner = keras_tuner.Hyperband(build, "val_loss")
        >>> recdrop_tune.track(tuner, "speech")
        >>> tuner.search(x, y, validation_data=(x_val, y_val))
    """
    check_training()
    folder = Path(tuner.project_dir)
    check_folder(folder)
    records = read_records(folder, tuner.oracle)
    config: Any = {"tracking": tracking}
    mlflow = with_active(SearchConfig(**config).tracking, tuner.project_name, tuner.project_dir)
    about: Any = {"space": space, "info": info, "data": data, "context": context}
    return track_in(mlflow, tuner, records=records, listeners=listeners, **about)


def track_in(mlflow: MLflow | None, tuner: kt.Tuner, **about: Any) -> SearchSession:
    """Tracks a tuner, in MLflow unless it is `None`, and saves the result when the search ends."""
    session = open_session(tuner, mlflow, **about)

    def save() -> ResultSaved | None:
        if about.get("models"):
            return save_comparison(ModelComparison(session.records, Path(tuner.project_dir)))
        result = TuneResult(tuner, session)
        # Keras Tuner pickles scikit-learn's models, and anybody may have put a file into the folder.
        model = None if isinstance(tuner, kt.SklearnTuner) else result.best_model
        return save_result(result.view, result.directory, model, result.best_code)

    session.save_result = save
    return session


def open_session(
    tuner: kt.Tuner,
    mlflow: MLflow | None = None,
    *,
    records: Records | None = None,
    listeners: Iterable[Listener] = (),
    space: str | None = None,
    info: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    context: Context | None = None,
    models: Sequence[str] = (),
    process: Process | None = None,
    resume_hint: str | None = None,
) -> SearchSession:
    """Tracks a tuner as `track` does, but saves no result; `models` are compared, without trials."""
    oracle, folder = tuner.oracle, Path(tuner.project_dir)
    if isinstance(oracle, TrackedOracle):
        raise invalid_argument("tuner", expected="one that is not tracked yet", received=tuner)
    if "KERASTUNER_ORACLE_IP" in os.environ:
        raise invalid_argument(
            "tuner",
            expected="one that trains its trials in this process, not Keras Tuner's chief or a worker",
            received=tuner,
        )
    check_folder(folder)
    journal = Journal(folder / JOURNAL)
    records = Records(journal.read()) if records is None else records
    uri, store = None if mlflow is None else resolve_uri(mlflow.uri), None
    dispatcher = Dispatcher(journal, [records, *listeners])
    if uri is not None:
        # Here, because they import MLflow.
        from recdrop_tune.mlflow_store import MLflowStore, MLflowWriter

        store = MLflowStore(MLflowWriter(uri, journal))
        dispatcher.listeners.append(store)
    known = (read_object(folder / SEARCH) or {}).get("id")  # From `tune`.
    kind = oracle if type(tuner).__name__ == "Tuner" else tuner  # Its oracle tells more.
    description = SearchDescription(
        search_id=records.search.search_id if records.search else str(known or uuid.uuid4().hex),
        name=tuner.project_name,
        tuner=type(kind).__name__,
        objective=oracle.objective.name,
        direction=oracle.objective.direction,
        experiment=None if mlflow is None else mlflow.experiment,
        tracking_uri=uri and absolute(hide(uri)),
        tags=mlflow.tags if mlflow else {},
        register_model=None if mlflow is None else mlflow.register_model,
        space=space,
        info={**describe_search(tuner, None if models else oracle), **(info or {})},
        data=describe_data(data or {}),
        context=context,
        models=[*models],
        resume_hint=resume_hint,
    )
    reporter = TrialReporter(tuner, records, dispatcher.emit)
    about = description, dispatcher, records, reporter, store, process
    session = SearchSession(_Searched(oracle), *about)
    tuner.oracle = TrackedOracle(oracle, session, reporter)
    if tuner.hypermodel is not None:
        tuner.hypermodel = extended(tuner.hypermodel, ReportsEpochs(reporter))
    return session


class _Searched:
    """An oracle as a session sees it; see `recdrop_tune.session`."""

    def __init__(self, oracle: kt.Oracle) -> None:
        self._oracle = oracle

    @property
    def max_trials(self) -> int | None:
        most: int | None = self._oracle.max_trials
        return most

    @property
    def hyperparameters(self) -> list[Hyperparameter]:
        return read_space(self._oracle.get_space().space)

    @property
    def configurations(self) -> int | None:
        return fewer_than_trials(self._oracle)

    def ending(self) -> NoMoreTrials | None:
        oracle = self._oracle
        if (counts := exhausted(oracle)) is not None:
            tried, number = counts
            return NoMoreTrials(reason=EXHAUSTED, configurations=number, tried=tried)
        if isinstance(oracle, OptunaOracle):
            reason = oracle.ended_by()
        else:
            is_full = oracle.max_trials and len(oracle.trials) >= oracle.max_trials
            reason = MAX_TRIALS if is_full else None
        return None if reason is None else NoMoreTrials(reason=reason, gain=self.expected_gain())

    def expected_gain(self) -> float | None:
        return self._oracle.expected_gain() if isinstance(self._oracle, OptunaOracle) else None
