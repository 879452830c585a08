"""The MLflow runs of one experiment, written through its client, with explicit ids and accepted values."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from recdrop_tune.addresses import is_server, sqlite_path
from recdrop_tune.errors import RecdropError
from recdrop_tune.mlflow_store.datasets import dataset_inputs
from recdrop_tune.mlflow_store.description import EXPERIMENT, NOTE
from recdrop_tune.mlflow_store.names import LONGEST_NAME, clean, clean_names, metric, parameter, tag
from recdrop_tune.mlflow_store.stores import is_without_answer, reason
from recdrop_tune.states import TrialState

_logger = logging.getLogger(__name__)

_BATCH = {"params": 50, "metrics": 800, "tags": 50}
"""The most of each in one request. MLflow takes 1000 entries, 100 of them parameters, 100 tags, and 1 MB."""

LACKING = "recdrop.lacking"
"""Tag of a run that lacks an artifact because it could not be stored."""


@dataclass(frozen=True)
class Point:
    """A value of a metric at a step, with a Unix timestamp in seconds."""

    name: str
    value: float
    step: int
    time: float


def milliseconds(time: float) -> int:
    """Converts a Unix timestamp to MLflow's unit."""
    return int(time * 1000)


class Runs:
    """The runs of an experiment, which is created if necessary."""

    # Everything can be written twice: MLflow keeps one of two equal parameters, and one of two points that
    # are equal to the millisecond.

    def __init__(self, uri: str, experiment: str) -> None:
        self.client: Any = MlflowClient(tracking_uri=uri)
        self._uri = uri
        self.experiment_id = self._experiment(experiment)

    def of_search(self, search_id: str) -> tuple[Any, dict[tuple[str, int], Any]]:
        """Returns the run of a search, or `None`, and those of attempts, by trial and beginning in ms."""
        # Duplicates are deleted: a request that seemed to fail can succeed later.
        same: dict[tuple[str, int] | None, list[Any]] = {}
        for run in self._find(f"tags.`recdrop.search_id` = '{search_id}'"):
            tags = run.data.tags
            attempt = (tags.get("recdrop.trial_id", ""), int(run.info.start_time))
            key = None if tags.get("recdrop.kind") == "search" else attempt
            same.setdefault(key, []).append(run)
        search = same.pop(None, None)
        attempts = {key: self._keep_one(runs) for key, runs in same.items() if key is not None}
        return None if search is None else self._keep_one(search), attempts

    def _keep_one(self, runs: list[Any]) -> Any:
        fullest = max(
            runs, key=lambda run: (run.info.status != TrialState.RUNNING, len(run.data.metrics))
        )
        for run in runs:
            if run is not fullest:
                self.client.delete_run(run.info.run_id)
        return fullest

    def _find(self, condition: str) -> list[Any]:
        """Returns all runs that match a filter in MLflow's language."""
        runs: list[Any] = []
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], condition, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def create(self, name: str, tags: Mapping[str, object], when: float) -> str:
        """Creates a run that began at a given time, and returns its id."""
        written = {clean(key): tag(value) for key, value in tags.items()}
        run = self.client.create_run(
            self.experiment_id, milliseconds(when), written, run_name=name[:LONGEST_NAME]
        )
        return str(run.info.run_id)

    def write(
        self,
        run_id: str,
        params: Mapping[str, object] = MappingProxyType({}),
        points: Iterable[Point] = (),
        tags: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Writes to a run, in as few requests as MLflow takes. Existing parameters must not differ."""
        points, param_names = list(points), clean_names(params)
        metric_names = clean_names(dict.fromkeys(point.name for point in points))
        batches: dict[str, list[Any]] = {
            "params": [Param(param_names[k], parameter(value)) for k, value in params.items()],
            "metrics": [
                Metric(metric_names[p.name], metric(p.value), milliseconds(p.time), p.step)
                for p in points
            ],
            "tags": [RunTag(clean(name), tag(value)) for name, value in tags.items()],
        }
        while any(batches.values()):
            self._log(
                run_id, {kind: part[: _BATCH[kind]] for kind, part in batches.items() if part}
            )
            batches = {kind: part[_BATCH[kind] :] for kind, part in batches.items()}

    def inputs(self, run_id: str, data: Sequence[Mapping[str, Any]]) -> None:
        """Writes the data sets of a run, as described by `describe_data`."""
        if data:
            with _unless_refused(f"run {run_id}"):
                self.client.log_inputs(run_id, datasets=dataset_inputs(data))

    @contextlib.contextmanager
    def unless_artifacts_fail(self, run_id: str, what: str) -> Iterator[None]:
        """Continues without artifacts if their store does not work, although MLflow does; tags the run."""
        # The store can be another server, for which this machine lacks a package or credentials. The tag
        # keeps the run from counting as complete.
        try:
            with _unless_refused(what):
                yield
        except Exception as failure:
            if is_without_answer(failure):
                raise
            self.client.set_tag(run_id, LACKING, what)
            text = reason(failure, self._uri)
            _logger.warning("MLflow's artifact store did not take %s: %s", what, text)

    def end(self, run_id: str, status: str, when: float) -> None:
        """Ends a run. This is written last, so a run with its end is complete."""
        with _unless_refused(f"run {run_id}"):
            self.client.set_terminated(run_id, status=status, end_time=milliseconds(when))

    def resume(self, run: Any, reopen: bool) -> None:
        """Prepares an incomplete run for being written again; `reopen` if its trial is running."""
        lacks = LACKING in run.data.tags
        # First, so that it does not count as complete until its end is written again.
        if (reopen or lacks) and run.info.status != TrialState.RUNNING:
            self.client.update_run(run.info.run_id, status=TrialState.RUNNING)
        if lacks:
            self.client.delete_tag(run.info.run_id, LACKING)

    def _log(self, run_id: str, batch: Mapping[str, Any]) -> None:
        try:
            self.client.log_batch(run_id, **batch)
        except mlflow.MlflowException as refusal:
            if refusal.error_code != "INVALID_PARAMETER_VALUE":
                raise
            # One rejected value does not reject the others.
            for name, part in batch.items():
                with _unless_refused(f"run {run_id}"):
                    self.client.log_batch(run_id, **{name: part})

    def _experiment(self, name: str) -> str:
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            about = {"artifact_location": self._folder(name), "tags": {NOTE: EXPERIMENT}}
            try:
                return str(self.client.create_experiment(name, **about))
            except mlflow.MlflowException:
                # Another process created it first, or the error says why not.
                experiment = self.client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            raise RecdropError(
                f"the experiment `{name}` has been deleted in MLflow; restore it there, or give another "
                "name as `experiment`"
            )
        return str(experiment.experiment_id)

    def _folder(self, experiment: str) -> str | None:
        """Returns the folder for artifacts, for MLflow 3 takes its default, `mlruns`, for an old store."""
        if is_server(self._uri):
            return None
        database = sqlite_path(self._uri)
        folder = Path.cwd() if database is None else database.parent
        name = re.sub(r"[^\w.-]", "_", experiment)
        return (folder / "mlartifacts" / name).as_uri()


@contextlib.contextmanager
def _unless_refused(what: str) -> Iterator[None]:
    """Continues without what MLflow will never accept, such as a run that the user has deleted."""
    try:
        yield
    except mlflow.MlflowException as refusal:
        if refusal.error_code != "INVALID_PARAMETER_VALUE":
            raise
        _logger.warning("MLflow refused a part of %s: %s", what, str(refusal).split("\n")[0])
