"""The MLflow runs of one experiment, written through its client, with explicit ids and accepted values."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.tracking import MlflowClient

from recdrop_tune.addresses import is_server, sqlite_path
from recdrop_tune.errors import RecdropError
from recdrop_tune.mlflow_store.stores import is_without_answer, reason
from recdrop_tune.states import TrialState

_logger = logging.getLogger(__name__)

_BATCH = {"params": 50, "metrics": 800, "tags": 50}
"""The most of each in one request. MLflow takes 1000 entries, 100 of them parameters, 100 tags, and 1 MB."""

LONGEST_NAME = 250
LONGEST_PARAMETER = 6000
LONGEST_TAG = 8000
"""Limits of MLflow 3, in characters: the widths of columns in its database."""

NOTE = "mlflow.note.content"
"""Tag of a run, or of an experiment, that MLflow's pages show as its description, in Markdown."""

EXPERIMENT = (
    "Searches for the dropout of recurrent layers, by recdrop-tune: each row under *Model training*, *Runs* "
    "is one. Click its name for what it found, or the plus sign next to it for its trials, which are "
    "named after what they try, as in `0012 variational recurrent 0.3`. The metric `objective` compares "
    "trials. The command `recdrop-tune ui` opens the trials of a search, best first."
)
"""The description of an experiment that has none."""

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
        self.client = MlflowClient(tracking_uri=uri)
        self._uri = uri
        self.experiment_id = self._experiment(experiment)

    def of_search(self, search_id: str) -> tuple[Run | None, dict[tuple[str, int], Run]]:
        """Returns the run of a search, or `None`, and those of attempts, by trial and beginning in ms."""
        # Duplicates are deleted: a request that seemed to fail can succeed later.
        same: dict[tuple[str, int] | None, list[Run]] = {}
        for run in self._find(f"tags.`recdrop.search_id` = '{search_id}'"):
            tags = run.data.tags
            attempt = (tags.get("recdrop.trial_id", ""), int(run.info.start_time))
            key = None if tags.get("recdrop.kind") == "search" else attempt
            same.setdefault(key, []).append(run)
        search = same.pop(None, None)
        attempts = {key: self._keep_one(runs) for key, runs in same.items() if key is not None}
        return None if search is None else self._keep_one(search), attempts

    def _keep_one(self, runs: list[Run]) -> Run:
        fullest = max(
            runs, key=lambda run: (run.info.status != TrialState.RUNNING, len(run.data.metrics))
        )
        for run in runs:
            if run is not fullest:
                self.client.delete_run(run.info.run_id)
        return fullest

    def _find(self, condition: str) -> list[Run]:
        """Returns all runs that match a filter in MLflow's language."""
        runs: list[Run] = []
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

    def resume(self, run: Run, reopen: bool) -> None:
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


def dataset_inputs(data: Iterable[Mapping[str, Any]]) -> list[DatasetInput]:
    """Converts the descriptions of `describe_data` to arguments of `MlflowClient.log_inputs`."""
    names = ("name", "digest", "source_type", "source", "schema", "profile")
    return [
        DatasetInput(
            Dataset(**{name: one.get(name) for name in names}),
            [InputTag("mlflow.data.context", str(one["context"]))],
        )
        for one in data
    ]


def clean(name: str) -> str:
    """Turns the name of a parameter, metric or tag into one that MLflow accepts.

    It refuses most punctuation, paths that lead elsewhere, and very long names.

    Example:
        >>> clean("top 5% [val]"), clean("/a/../b")
        ('top 5_ _val_', 'a/__/b')
    """
    parts = re.sub(r"[^\w\-. :/]", "_", name).split("/")
    parts = [part if part.strip(".") else "_" * len(part) for part in parts if part]
    cleaned = posixpath.normpath("/".join(parts)) if parts else "_"
    return cleaned if len(cleaned) <= LONGEST_NAME else _shortened(cleaned, name)


def clean_names(names: Iterable[str]) -> dict[str, str]:
    """Turns several names into ones that MLflow accepts, and keeps them distinct."""
    names = list(names)
    distinct: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (clean(name) != name, name)):  # Good names stay.
        cleaned = clean(name)
        distinct[name] = _shortened(cleaned, name) if cleaned in distinct.values() else cleaned
    return {name: distinct[name] for name in names}


def parameter(value: object) -> str:
    """Writes the value of a parameter; `n/a` if it is inactive, for MLflow's charts skip runs without it."""
    return _cut("n/a" if value is None else str(value), LONGEST_PARAMETER)


def tag(value: object) -> str:
    """Writes the value of a tag."""
    return _cut(str(value), LONGEST_TAG)


def metric(value: float) -> float:
    """Returns the value of a metric; infinity becomes NaN, for a chart would show nothing else."""
    value = float(value)
    return value if math.isfinite(value) else math.nan


def _shortened(cleaned: str, name: str) -> str:
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{cleaned[: LONGEST_NAME - 9].rstrip('/')}-{mark}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
