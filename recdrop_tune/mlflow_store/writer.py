"""Writes to MLflow what it lacks of a search: while it runs, after an outage, and for `sync`."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from recdrop_tune.errors import ProjectError, RecdropError
from recdrop_tune.events import Configuration, Event, ResultSaved, SearchEnded, SearchStarted
from recdrop_tune.files import RESULT, lock
from recdrop_tune.journal import Journal
from recdrop_tune.mlflow_store.artifacts import log_model, upload_result
from recdrop_tune.mlflow_store.contents import Contents, SearchContents, contents_of, points
from recdrop_tune.mlflow_store.pages import (
    description,
    is_the_users,
    links_of,
    view,
    view_tag,
)
from recdrop_tune.mlflow_store.runs import (
    LACKING,
    NOTE,
    Runs,
    clean,
    clean_names,
    milliseconds,
    tag,
)
from recdrop_tune.mlflow_store.stores import prepare, reason
from recdrop_tune.session import MLflowRuns
from recdrop_tune.states import SearchOutcome, TrialState

LOCK = "mlflow.lock"
"""File in the project folder that the writing process locks. It stays: the system releases the lock."""

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)

_PATIENCE = 30.0
"""Seconds that a search waits, in its tracking thread, for a `sync` of it to end; then it tries again."""

Progress = Callable[[int, int], None]
"""Called with the number of runs of trials that exist now, and that will exist."""


class TrackingError(RecdropError):
    """MLflow did not accept a request."""


@dataclass
class _Written:
    """The content of a run in MLflow: the names of its parameters, its tags, how many of its points."""

    run_id: str
    params: Collection[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    points: int = 0
    texts: Mapping[str, str] = field(default_factory=dict)
    end: tuple[SearchOutcome, float] | None = None


class MLflowWriter:
    """Writes what the journal of a search has and MLflow lacks, with explicit run ids.

    It asks MLflow what the runs have at first, when a search is resumed, and after a failure; then it
    remembers what it writes. The end of a run is written last, so a run with its end is complete. The curves
    of other runs are written again, which is harmless: MLflow keeps one of two equal points.
    """

    def __init__(
        self,
        tracking_uri: str,
        journal: Journal,
        progress: Progress = lambda there, total: None,
    ) -> None:
        self.uri = tracking_uri
        self.journal = journal
        self._progress = progress
        self._runs: Runs  # Once MLflow was asked what it has.
        self._contents: SearchContents | None = None
        self._read = 0  # Bytes of the journal in `_contents`.
        self._has: dict[tuple[str, int], _Written] = {}
        self._result: ResultSaved | None = None  # These three are in the run of the search.
        self._data: Sequence[Mapping[str, Any]] = ()
        self._confirmed = 0
        self._has_failed = False
        self.ids = MLflowRuns()

    def write(self) -> None:
        """Writes what the journal of a running search has and MLflow lacks, or raises a `TrackingError`."""
        with self._failures_explained():
            with writing_alone(self.journal.path.parent, _PATIENCE):
                if self._contents is not None:
                    new, self._read = self.journal.read_from(self._read)
                    # A search can have been resumed elsewhere meanwhile. And a request that seemed to fail
                    # can have succeeded: that is settled at the end.
                    doubted = (SearchStarted, SearchEnded) if self._has_failed else SearchStarted
                    if any(isinstance(event, doubted) for event in new):
                        self._contents = None
                    else:
                        for event in new:
                            self._contents.take(event)
                if self._contents is None:
                    prepare(self.uri)  # Before the journal is read, which can take long.
                    new, self._read = self.journal.read_from(0)
                    self._contents = self._ask(new, alive=True)
                if self._contents is not None:
                    self._write(self._contents)
            if new and isinstance(new[-1], SearchEnded):
                self._has_failed = False

    def write_all(self, history: Iterable[Event]) -> tuple[int, int]:
        """Writes what MLflow lacks of a search that is over; returns the numbers of runs written and kept."""
        with self._failures_explained():
            prepare(self.uri)
            contents = self._ask(history, alive=False)
            if contents is None:
                return 0, 0
            complete = sum(has.end is not None for key, has in self._has.items() if key[0])
            self._write(contents)
            return len(contents.attempts) - complete, complete

    def _ask(self, history: Iterable[Event], alive: bool) -> SearchContents | None:
        """Computes what the runs should contain, and asks MLflow what they have."""
        contents = contents_of(history, alive)
        if contents is None:
            return None
        self._runs = Runs(self.uri, contents.search.experiment or contents.search.name)
        search, runs = self._runs.of_search(contents.search.search_id)
        self._has, self._result, self._data, self._confirmed = {}, None, (), 0
        if search is None:
            self._create(contents.run)
        elif self._note(contents.run, search):
            self._result, self._data = contents.result, contents.data
            self._confirmed, contents.is_description_new = len(contents.confirmations), False
        self.ids.parent_run_id = self._has[contents.run.key].run_id
        for key, run in sorted(runs.items()):
            if key in contents.attempts:
                self._note(contents.attempts[key], run)
                continue
            # The journal does not have this attempt, so another one supersedes it.
            if run.info.status == TrialState.RUNNING:
                self._runs.client.set_terminated(run.info.run_id, SearchOutcome.KILLED)
            self._runs.client.set_tag(run.info.run_id, "recdrop.kind", "superseded")
        return contents

    def _note(self, contents: Contents, run: Run) -> bool:
        """Notes what a run in MLflow has; returns whether it is complete."""
        data, end = run.data, contents.end and (contents.end[0], milliseconds(contents.end[1]))
        is_complete = end == (run.info.status, run.info.end_time) and LACKING not in data.tags
        has = self._has[contents.key] = _Written(run.info.run_id, data.params, data.tags)
        if is_complete:  # The end is written last.
            has.points, has.texts, has.end = len(contents.points), {**contents.texts}, contents.end
        else:
            self._runs.resume(run, reopen=contents.end is None)
        return is_complete

    def _create(self, contents: Contents) -> None:
        run_id = self._runs.create(contents.name, contents.tags, contents.began)
        self._has[contents.key] = _Written(run_id, tags=_texts(contents.tags))

    def _write(self, contents: SearchContents) -> None:
        """Writes the changed runs of attempts, then the run of the search."""
        for number, attempt in enumerate(contents.changed.values(), 1):
            attempt.tags["mlflow.parentRunId"] = self.ids.parent_run_id
            if attempt.key not in self._has:
                self._create(attempt)
            if contents.latest[attempt.trial_id] is attempt:
                self.ids.run_ids[attempt.trial_id] = self._has[attempt.key].run_id
            self._write_run(attempt)
            self._progress(number, len(contents.changed))
        contents.changed.clear()
        self._write_search(contents)
        self.ids.experiment_id = self._runs.experiment_id

    def _write_run(self, contents: Contents, note: str | None = None) -> None:
        """Writes what a run lacks, its end last; `note` describes the run."""
        has, runs, names = self._has[contents.key], self._runs, clean_names(contents.params)
        # MLflow does not let parameters change.
        params = {n: contents.params[k] for k, n in names.items() if n not in has.params}
        tags = _texts(contents.tags) | ({} if note is None else {NOTE: note})
        new = {name: text for name, text in tags.items() if has.tags.get(name) != text}
        runs.write(has.run_id, params, contents.points[has.points :], new)
        for path, text in contents.texts.items():
            if has.texts.get(path) != text:
                with runs.unless_artifacts_fail(has.run_id, path):
                    runs.client.log_text(has.run_id, text, path)
        if contents.end not in (None, has.end):
            runs.end(has.run_id, *contents.end)
        has.params, has.tags, has.end = names.values(), tags, contents.end
        has.points, has.texts = len(contents.points), {**contents.texts}

    def _write_search(self, contents: SearchContents) -> None:
        note = None
        if contents.result is not None and contents.result is not self._result:
            self._save(contents, contents.result)
        if contents.is_description_new:
            note = self._description(contents)
            self._write_view(contents)
        if contents.data is not self._data:
            self._runs.inputs(self._has[contents.run.key].run_id, contents.data)
        for trial_id, new in contents.confirmations[self._confirmed :]:
            self._runs.write(self.ids.run_ids[trial_id], points=new)
        self._write_run(contents.run, note)
        self._result, self._data = contents.result, contents.data
        self._confirmed, contents.is_description_new = len(contents.confirmations), False

    def _save(self, contents: SearchContents, result: ResultSaved) -> None:
        """Uploads the files of a result, and logs the best model."""
        run_id, folder = self._has[contents.run.key].run_id, self.journal.path.parent
        with self._runs.unless_artifacts_fail(run_id, "the files of the result"):
            upload_result(self._runs.client, run_id, folder, result)
        # Tags, unlike parameters, can change when the search is resumed.
        best = {f"best.{name}": value for name, value in result.best.items()}
        for name in self._runs.client.get_run(run_id).data.tags:
            if name.startswith("best.") and name not in map(clean, [*best, *contents.search.tags]):
                self._runs.client.delete_tag(run_id, name)  # Of another trial.
        self._runs.write(run_id, points=points(result.metrics, 0, result.time), tags=best)
        if contents.search.models:  # A comparison of models keeps none.
            return
        with self._runs.unless_artifacts_fail(run_id, "the best model"):
            log_model(
                self._runs.client,
                self.ids.run_ids[Configuration.named(result.best_trial_id).trial_id],
                folder,
                contents.search.search_id,
                also=[run_id],
                register_model=contents.search.register_model,
            )

    def _description(self, contents: SearchContents) -> str | None:
        """Returns the description of the search's run; `None` if the user has written one."""
        run_id, runs = self._has[contents.run.key].run_id, self._runs
        if is_the_users(runs.client.get_run(run_id).data.tags.get(NOTE)):
            return None
        report = contents.result is not None and f"{RESULT}/report.html" in contents.result.files
        links = links_of(self.uri, runs.experiment_id, run_id, contents.search, report)
        folder = None if contents.alive else self.journal.path.parent
        return description(contents.records, contents.run.end, contents.summary, links, folder)

    def _write_view(self, contents: SearchContents) -> None:
        """Writes the view of the trials; its columns are the hyperparameters that differ so far."""
        about, records = contents.search, contents.records.trials.values()
        trials = [record.hyperparameters for record in records]
        trials = trials or [{"model": name} for name in about.models]
        state = view(about.search_id, about.objective, about.direction != "max", trials)
        with suppress(MlflowException):  # The user may lack the permission.
            self._runs.client.set_experiment_tag(
                self._runs.experiment_id, view_tag(about.search_id), state
            )

    @contextmanager
    def _failures_explained(self) -> Iterator[None]:
        """Turns a failure into a `TrackingError` without credentials, and forgets what MLflow has."""
        try:
            yield
        except Exception as failure:  # SQLAlchemy's, requests' or MLflow's own.
            self._contents, self._read, self._has_failed = None, 0, True
            self.ids.experiment_id = None  # Its pages are incomplete, so they are not recommended.
            raise TrackingError(reason(failure, self.uri)) from None


def _texts(tags: Mapping[str, object]) -> dict[str, str]:
    """Returns tags as MLflow keeps them."""
    return {clean(name): tag(value) for name, value in tags.items()}


@contextmanager
def writing_alone(folder: str | Path, patience: float) -> Iterator[bool]:
    """Keeps others from writing the runs of a search, or raises a `ProjectError`; False without locks."""
    file = _open(Path(folder))
    if file is None:
        yield False
        return
    try:
        is_locked = lock(file, patience=patience)
        if is_locked is False:
            raise ProjectError(
                "Another process, a search or `recdrop-tune sync`, is writing the runs of the search in "
                f"`{folder}` to MLflow. Wait for it to end."
            )
        yield bool(is_locked)
    finally:
        os.close(file)


def _open(folder: Path) -> int | None:
    path = folder / LOCK
    # If the folder is read-only and has no lock file, the folder itself is locked.
    for place, how in ((path, os.O_RDWR | os.O_CREAT), (path, os.O_RDONLY), (folder, os.O_RDONLY)):
        try:
            return os.open(place, how, 0o666)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in _READ_ONLY:
                return None
    return None
