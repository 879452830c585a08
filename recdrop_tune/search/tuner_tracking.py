"""`track`: records any Keras Tuner tuner in MLflow, and saves the result when the search ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras_tuner as kt

from recdrop_tune.backends import check_training
from recdrop_tune.events import Context, Listener, ResultSaved
from recdrop_tune.files import JOURNAL, check_folder
from recdrop_tune.journal import Journal
from recdrop_tune.mlflow_store import Tracking, in_context
from recdrop_tune.mlflow_store import track as track_tuner
from recdrop_tune.records import Records
from recdrop_tune.results import (
    ModelComparison,
    TuneResult,
    read_records,
    save_comparison,
    save_result,
)
from recdrop_tune.search.settings import EXPERIMENT, MLflow, SearchConfig


def with_active(
    tracking: MLflow | None, default: str = EXPERIMENT, folder: str | Path | None = None
) -> MLflow | None:
    """Completes settings of MLflow by its active run and experiment, as they are in this process.

    A search in the `folder` keeps its experiment. `default` is the experiment if none is active.
    """
    if tracking is None:
        return None
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
) -> Tracking:
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
        The tracking. It ends with the search; close it if the search fails.

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


def track_in(mlflow: MLflow | None, tuner: Any, **about: Any) -> Tracking:
    """Tracks a tuner, in MLflow unless it is `None`, and saves the result when the search ends."""
    store = {} if mlflow is None else {**vars(mlflow)}
    tracked = track_tuner(tuner, tracking_uri=store.pop("uri", None), **store, **about)

    def save(of: Tracking) -> ResultSaved | None:
        if of.about["models"]:
            return save_comparison(ModelComparison(of.records, Path(tuner.project_dir)))
        result = TuneResult(tuner, of)
        # Keras Tuner pickles scikit-learn's models, and anybody may have put a file into the folder.
        model = None if isinstance(tuner, kt.SklearnTuner) else result.best_model
        return save_result(result.view, result.directory, model, result.best_code)

    tracked.at_end = save
    return tracked
