"""The run and the experiment that a user has made active with MLflow's own functions."""

from __future__ import annotations

import os

import mlflow
from mlflow.tracking import MlflowClient

from recdrop_tune.addresses import absolute
from recdrop_tune.errors import RecdropError
from recdrop_tune.mlflow_store.stores import prepare, reason, settle_requests


def in_context(uri: str, experiment: str | None) -> tuple[str | None, dict[str, str]]:
    """Returns the name of the experiment to use, and the tag that nests a run in the active run.

    An active run or experiment of another store than that of the search does not count.

    Args:
        uri: Where the search is recorded, as `absolute` returns it.
        experiment: The name that the user has given; by default that of the active experiment.

    Raises:
        RecdropError: MLflow does not return the experiment.
    """
    name = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if absolute(mlflow.get_tracking_uri()) != uri:
        return name, {}
    run = mlflow.active_run()
    tags = {} if run is None else {"mlflow.parentRunId": run.info.run_id}
    # `mlflow.set_experiment` sets the variable too.
    found = run.info.experiment_id if run else os.environ.get("MLFLOW_EXPERIMENT_ID")
    if experiment or not found:
        return name, tags
    settle_requests(uri)
    try:
        prepare(uri)
        return MlflowClient(tracking_uri=uri).get_experiment(found).name, tags
    except Exception as failure:  # SQLAlchemy's, requests' or MLflow's own.
        what = f"MLflow's experiment {found} is active and cannot be read"
        raise RecdropError(f"{what}: {reason(failure, uri)}") from None
