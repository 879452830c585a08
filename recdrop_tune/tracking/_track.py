"""`track`: attaches the tracking to any Keras Tuner tuner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from recdrop_tune.errors import invalid_argument
from recdrop_tune.paths import check_folder
from recdrop_tune.tracking import _events as events
from recdrop_tune.tracking._datasets import describe_data
from recdrop_tune.tracking._hooks import TrackedHyperModel, TrackedOracle
from recdrop_tune.tracking._models import check_model_name
from recdrop_tune.tracking._system_metrics import SystemMetrics, check_system_metrics
from recdrop_tune.tracking._tracking import Tracking
from recdrop_tune.tracking._uris import check_databases, resolve_uri
from recdrop_tune.tuner._arguments import is_local


def track(
    tuner: Any,
    *,
    experiment: str,
    tracking_uri: str | None = None,
    listeners: Iterable[events.Listener] = (),
    space: str | None = None,
    info: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    context: events.Context | None = None,
    register_model: str | None = None,
    system_metrics: bool = False,
) -> Tracking:
    """Has a tuner's trials recorded; `recdrop_tune.track` does so and has the result saved as well.

    Args:
        tuner: Any `keras_tuner.Tuner`.
        experiment: Name of the MLflow experiment.
        tracking_uri: Where MLflow keeps its runs.
        listeners: Further listeners for the events.
        space: The search space as YAML.
        info: Further parameters of the search's run.
        data: The data sets by what they are for.
        context: What the search is about.
        register_model: A name for the best model in MLflow's registry.
        system_metrics: Whether the use of the machine is recorded for each trial; see `SystemMetrics`.

    Raises:
        InvalidArgumentError: The tracking URI is a folder, the database of an `OptunaOracle` too, the tuner
            is tracked already, or no model can be registered under the name.
        ProjectError: There is a link in the project folder, or something else that is no file.
        RecdropError: `system_metrics` needs packages that are not installed.
    """
    if isinstance(tuner.oracle, TrackedOracle):
        raise invalid_argument("tuner", expected="one that is not tracked yet", received=tuner)
    check_folder(tuner.project_dir)
    check_model_name(register_model)
    if system_metrics:
        check_system_metrics()
    uri = resolve_uri(tracking_uri)
    check_databases(getattr(tuner.oracle, "storage", None), uri)
    tracking = Tracking(tuner, experiment, uri, listeners)
    tracking.space, tracking.info = space, dict(info or {})
    tracking.data, tracking.context = describe_data(data or {}), context
    tracking.register_model = register_model
    tracking.mlflow.system_metrics = SystemMetrics(uri) if system_metrics else None
    if not is_local(tuner.oracle):
        return tracking  # A worker of Keras Tuner's, whose chief sees all of it.
    tuner.oracle = TrackedOracle(tuner.oracle, tracking, tracking.reporter)
    if tuner.hypermodel is not None:
        tuner.hypermodel = TrackedHyperModel(tuner.hypermodel, tracking.reporter)
    return tracking
