"""`track`: attaches the tracking to any Keras Tuner tuner, and has the search's result saved at its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from recdrop_tune.events import Context, Listener, ResultSaved
from recdrop_tune.mlflow_store import Tracking
from recdrop_tune.mlflow_store import track as track_tuner
from recdrop_tune.results import TuneResult, save_result


def track(
    tuner: Any,
    *,
    experiment: str | None = None,
    tracking_uri: str | None = None,
    listeners: Iterable[Listener] = (),
    space: str | None = None,
    info: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    context: Context | None = None,
    register_model: str | None = None,
    system_metrics: bool = False,
) -> Tracking:
    """Records every trial of a tuner in MLflow and in a journal in its project folder.

    Call it before `tuner.search`. The tuner is changed in two public attributes only: `oracle` and
    `hypermodel` get stand-ins that hand everything on. MLflow is written to in a thread of its own;
    when it fails, the search goes on, a `TrackingWarning` says so, and the journal has every event. What
    MLflow has missed is written as soon as it is back, or by `sync`.

    For a server MLflow's `MLFLOW_HTTP_REQUEST_TIMEOUT` and `MLFLOW_HTTP_REQUEST_MAX_RETRIES` are set to
    10 seconds and 0 in this process, unless they are set.

    When the search is over, what it found is saved in the folder `result` of the project: a report, tables
    and the best model.

    Args:
        tuner: Any `keras_tuner.Tuner`.
        experiment: Name of the MLflow experiment; by default the tuner's `project_name`.
        tracking_uri: Where MLflow keeps its runs: a database or a server. By default what
            `MLFLOW_TRACKING_URI` says, else `sqlite:///mlflow.db`.
        listeners: Further listeners for the events, such as `Progress()`.
        space: The search space as YAML, kept as an artifact.
        info: Further parameters of the search's run, such as the number of epochs.
        data: The data sets by what they are for, `"training"`, `"validation"` or `"test"`: arrays
            `(x, y)` or a dataset. MLflow gets their shapes and a digest, not the data.
        context: What the search is about, for its summary; `tune` fills it in.
        register_model: A name for the best model in MLflow's registry; by default it is not registered.
        system_metrics: Whether the use of processors, memory and GPUs is recorded for each trial; needs
            the extra `system-metrics`.

    Returns:
        The tracking. It ends by itself with the search; close it if the search breaks off.

    Raises:
        InvalidArgumentError: The tracking URI is a folder, the database of an `OptunaOracle` too,
            the tuner is tracked already, or no model can be registered under the name.
        RecdropError: `system_metrics` needs packages that are not installed.

    Example:
        >>> tuner = keras_tuner.Hyperband(build, "val_loss")
        >>> recdrop_tune.track(tuner, experiment="speech")
        >>> tuner.search(x, y, validation_data=(x_val, y_val))
    """
    tracked = track_tuner(
        tuner,
        experiment=tuner.project_name if experiment is None else experiment,
        tracking_uri=tracking_uri,
        listeners=listeners,
        space=space,
        info=info,
        data=data,
        context=context,
        register_model=register_model,
        system_metrics=system_metrics,
    )

    def save(of: Tracking) -> ResultSaved | None:
        # A worker of a chief elsewhere knows its own trials only.
        return save_result(TuneResult(tuner, of)) if hasattr(tuner.oracle, "trials") else None

    tracked.at_end = save
    return tracked
