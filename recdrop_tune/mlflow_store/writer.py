"""Writes to MLflow what it lacks of a search: while it runs, after an outage, and for `sync`."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from recdrop_tune.errors import ProjectError, RecdropError
from recdrop_tune.events import Configuration, Event, ResultSaved, SearchEnded, SearchStarted
from recdrop_tune.files import lock
from recdrop_tune.journal import Journal
from recdrop_tune.mlflow_store.artifacts import RESULT, log_model, upload_result
from recdrop_tune.mlflow_store.contents import Contents, SearchContents, contents_of, points
from recdrop_tune.mlflow_store.description import NOTE, description, is_the_users, links_of
from recdrop_tune.mlflow_store.names import clean, clean_names, tag
from recdrop_tune.mlflow_store.pages import view, view_tag
from recdrop_tune.mlflow_store.runs import LACKING, Runs, milliseconds
from recdrop_tune.mlflow_store.stores import prepare, reason
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


class MLflowWriter:
    """Writes what the journal of a search has and MLflow lacks, with explicit run ids.

    `SearchContents` computes what each run should contain. While a search runs, the writer remembers what it
    has written: it reads the journal from there, asks MLflow nothing, and writes all new epochs in one
    request. At first, when a search is resumed, and after a failure, it reads the whole journal, asks
    MLflow for the existing runs, leaves out what they contain, and writes the rest.

    The end of a run is written last, so a run with its end is complete. The curves of other runs are written
    again, which is harmless: MLflow keeps one of two equal points.

    Attributes:
        experiment_id: The experiment; `None` after a failure.
        parent_run_id: The run of the search, once it exists.
        run_ids: The last run of each trial, by Keras Tuner's id.
    """

    def __init__(
        self,
        tracking_uri: str,
        journal: Journal,
        progress: Progress = lambda there, total: None,
    ) -> None:
        self._uri = tracking_uri
        self._journal = journal
        self._progress = progress
        self._runs: Any = None
        self._contents: SearchContents | None = None
        self._read = 0  # Bytes of the journal in `_contents`.
        self._lost: dict[str, str] = {}  # Runs of trials that the journal does not have.
        self._has_failed = False
        self._written: set[tuple[str, int]] = set()
        self.experiment_id: str | None = None
        self.parent_run_id: str | None = None
        self.run_ids: dict[str, str] = {}

    def write(self) -> None:
        """Writes what the journal of a running search has and MLflow lacks, or raises a `TrackingError`."""
        with self._failures_explained():
            with writing_alone(self._journal.path.parent, _PATIENCE):
                last = self._write_news()
            if isinstance(last, SearchEnded):
                self._has_failed = False

    def write_all(self, history: Iterable[Event]) -> tuple[int, int]:
        """Writes what MLflow lacks of a search that is over. No one else must be writing.

        Returns:
            How many runs of trials were created or completed, and how many were complete before.
        """
        with self._failures_explained():
            contents = contents_of(history, alive=False)
            if contents is None:
                return 0, 0
            prepare(self._uri)
            self._write_lacking(contents)
            return len(self._written), len(contents.attempts) - len(self._written)

    def _write_news(self) -> Event | None:
        """Writes the news of the journal, or all that MLflow lacks; returns the last event, if any."""
        if self._contents is not None:
            new, end = self._journal.read_from(self._read)
            if not self._might_differ(new):
                for event in new:
                    self._contents.take(event)
                self._write(self._contents)
                self._read = end
                return new[-1] if new else None
        prepare(self._uri)  # Before the journal is read, which can take long.
        history, self._read = self._journal.read_from(0)
        contents = contents_of(history, alive=True)
        if contents is None:
            return None
        self._write_lacking(contents)
        self._contents = contents
        return history[-1]

    def _might_differ(self, new: Iterable[Event]) -> bool:
        """Returns whether MLflow might contain something else than this writer has written.

        A search can have been resumed elsewhere meanwhile. And a request that seemed to fail can have
        succeeded: that is settled at the end.
        """
        kinds = (SearchStarted, SearchEnded) if self._has_failed else SearchStarted
        return any(isinstance(event, kinds) for event in new)

    def _write_lacking(self, contents: SearchContents) -> None:
        """Asks MLflow for the existing runs, and writes what they do not contain."""
        self._runs = Runs(self._uri, contents.search.experiment or contents.search.name)
        search, runs = self._runs.of_search(contents.search.search_id)
        if search is None:
            self._create(contents.run)
        elif self._leave_out(contents.run, search):
            contents.mark_written()
        self.parent_run_id = contents.run.run_id
        self._lost = {}
        for key, run in sorted(runs.items()):
            attempt = contents.attempts.get(key)
            if attempt is not None:
                attempt.tags["mlflow.parentRunId"] = contents.run.run_id
                self._leave_out(attempt, run)
                continue
            # The journal does not have this attempt, so another one supersedes it.
            if run.info.status == TrialState.RUNNING:
                self._runs.client.set_terminated(run.info.run_id, SearchOutcome.KILLED)
            if key[0] in contents.latest:
                self._runs.client.set_tag(run.info.run_id, "recdrop.kind", "superseded")
            else:
                self._lost[key[0]] = str(run.info.run_id)
        latest = contents.latest.values()
        self.run_ids = self._lost | {
            attempt.trial_id: attempt.run_id for attempt in latest if attempt.run_id
        }
        self._write(contents)
        self.experiment_id = self._runs.experiment_id

    def _leave_out(self, contents: Contents, run: Any) -> bool:
        """Leaves out what a run contains; returns whether it is complete."""
        contents.run_id, data = run.info.run_id, run.data
        tags = {
            name: value
            for name, value in contents.tags.items()
            if data.tags.get(clean(name)) != tag(value)
        }
        end = None if contents.end is None else (contents.end[0], milliseconds(contents.end[1]))
        # The end is written last.
        is_complete = end == (run.info.status, run.info.end_time) and LACKING not in data.tags
        if is_complete:
            contents.mark_written()
        else:
            self._runs.resume(run, reopen=contents.end is None)
            # MLflow does not let parameters change.
            names = clean_names(contents.params)
            contents.params = {
                names[name]: value
                for name, value in contents.params.items()
                if names[name] not in data.params
            }
        contents.tags = tags
        return is_complete

    def _create(self, contents: Contents) -> None:
        contents.run_id = self._runs.create(contents.name, contents.tags, contents.began)
        contents.tags = {}

    def _write(self, contents: SearchContents) -> None:
        """Writes the changed runs of attempts, then the run of the search."""
        for number, attempt in enumerate(contents.changed.values(), 1):
            if not attempt.run_id:
                attempt.tags["mlflow.parentRunId"] = contents.run.run_id
                self._create(attempt)
                if contents.latest[attempt.trial_id] is attempt:
                    if (lost := self._lost.pop(attempt.trial_id, None)) is not None:
                        self._runs.client.set_tag(lost, "recdrop.kind", "superseded")
                    self.run_ids[attempt.trial_id] = attempt.run_id
            self._write_run(attempt)
            if attempt.end is not None:
                self._runs.end(attempt.run_id, *attempt.end)
                self._written.add(attempt.key)
            attempt.mark_written()
            self._progress(number, len(contents.changed))
        contents.changed.clear()
        self._write_search(contents)

    def _write_run(self, contents: Contents) -> None:
        run_id = contents.run_id
        self._runs.write(run_id, contents.params, contents.points, contents.tags)
        for path, text in contents.texts.items():
            with self._runs.unless_artifacts_fail(run_id, path):
                self._runs.client.log_text(run_id, text, path)

    def _write_search(self, contents: SearchContents) -> None:
        run = contents.run
        if contents.is_result_new and contents.result is not None:
            self._save(contents, contents.result)
        if contents.is_description_new:
            self._describe(contents)
            self._write_view(contents)
        self._write_run(run)
        self._runs.inputs(run.run_id, contents.data)
        for trial_id, new in contents.confirmations.items():
            self._runs.write(self.run_ids[trial_id], points=new)
        if run.end is not None:
            self._runs.end(run.run_id, *run.end)
        contents.mark_written()

    def _save(self, contents: SearchContents, result: ResultSaved) -> None:
        """Uploads the files of a result, and logs the best model."""
        run_id, folder = contents.run.run_id, self._journal.path.parent
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
                self.run_ids[Configuration.named(result.best_trial_id).trial_id],
                folder,
                contents.search.search_id,
                also=[run_id],
                register_model=contents.search.register_model,
            )

    def _describe(self, contents: SearchContents) -> None:
        """Writes the description of the search's run, unless the user has written one."""
        run, runs = contents.run, self._runs
        if is_the_users(runs.client.get_run(run.run_id).data.tags.get(NOTE)):
            return
        report = contents.result is not None and f"{RESULT}/report.html" in contents.result.files
        links = links_of(self._uri, runs.experiment_id, run.run_id, contents.search, report)
        folder = None if contents.alive else self._journal.path.parent
        run.tags[NOTE] = description(contents.records, run.end, contents.summary, links, folder)

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
            self._contents, self._has_failed = None, True
            self.experiment_id = None  # Its pages are incomplete, so they are not recommended.
            raise TrackingError(reason(failure, self._uri)) from None


@contextmanager
def writing_alone(folder: str | Path, patience: float) -> Iterator[bool]:
    """Keeps other processes and threads from writing the runs of a search.

    If the folder is read-only and has no lock file, the folder itself is locked.

    Args:
        folder: The project folder.
        patience: Seconds to wait for another writer.

    Yields:
        Whether this is the only writer; `False` if that is unknown, because the file system has no locks.

    Raises:
        ProjectError: Another process is writing.
    """
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
    for place, how in ((path, os.O_RDWR | os.O_CREAT), (path, os.O_RDONLY), (folder, os.O_RDONLY)):
        try:
            return os.open(place, how, 0o666)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in _READ_ONLY:
                return None
    return None
