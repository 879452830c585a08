"""Writes to MLflow what it lacks of a search: as it goes on, after an outage, and for `sync`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from recdrop_tune.errors import RecdropError
from recdrop_tune.events import Event, ResultSaved, SearchEnded, SearchStarted
from recdrop_tune.journal import Journal
from recdrop_tune.mlflow_store.artifacts import RESULT, log_model, upload_result
from recdrop_tune.mlflow_store.contents import (
    Contents,
    SearchContents,
    contents_of,
    view_of,
)
from recdrop_tune.mlflow_store.description import (
    NOTE,
    description,
    is_the_users,
    links_of,
)
from recdrop_tune.mlflow_store.lock import writing_alone
from recdrop_tune.mlflow_store.params_and_metrics import best_tags, result_points
from recdrop_tune.mlflow_store.runs import LACKING, Runs, milliseconds
from recdrop_tune.mlflow_store.stores import is_transient, prepare, reason
from recdrop_tune.mlflow_store.system_metrics import SystemMetrics
from recdrop_tune.mlflow_store.uris import clean, clean_names, tag

_PATIENCE = 30.0
"""Seconds that a search waits for a `sync` of it; it does so in a thread of its own, and tries again."""

_REPORT = f"{RESULT}/report.html"
"""The report, among the files of a result and the artifacts of a search's run."""

Progress = Callable[[int, int], None]
"""Takes how many runs of trials are there now, and how many there will be."""


def _ignore(there: int, total: int) -> None:
    pass


class TrackingError(RecdropError):
    """MLflow did not take what it was given.

    Attributes:
        transient: Whether it may take it soon: its server was busy.
    """

    transient = False


@dataclass(frozen=True)
class Written:
    """What came of writing a whole search.

    Attributes:
        runs: How many runs of trials were written, or brought to their end.
        there: How many were there, whole.
    """

    runs: int
    there: int


class MLflowWriter:
    """Writes what a search's journal says and MLflow lacks, through a client, with explicit run ids.

    `SearchContents` says what each run is to hold. While the search goes on the writer knows what it has
    written, reads the journal from there on, asks MLflow nothing, and writes all epochs since in one request.
    When it begins, when the search goes on and after a failure it knows nothing: it reads the journal from
    its beginning, asks MLflow which runs are there, leaves out what they hold, and writes the rest.

    The runs of a search are found again by the tag `recdrop.search_id`, those of attempts at trials by the
    trial and the beginning. The end is the last that is written to a run, so a run with its end is whole. Of
    another one the curves are written once more, which does no harm: MLflow keeps one of two equal points.

    Args:
        tracking_uri: Where MLflow keeps its runs.
        journal: The journal of the search.

    Attributes:
        experiment_id: The experiment, while MLflow has all that it was given.
        parent_run_id: The run of the search, once there is one.
        run_ids: The last run of each trial, by Keras Tuner's id.
        written: The attempts whose runs were written to their end here.
        system_metrics: Measures the machine during each trial; `None` where nobody asked for that.
    """

    def __init__(self, tracking_uri: str, journal: Journal) -> None:
        self._uri = tracking_uri
        self._journal = journal
        self._runs: Any = None
        self._contents: SearchContents | None = None
        self._read = 0  # Bytes of the journal that have been taken in.
        self._lost: dict[str, str] = {}  # Runs of trials that the journal has lost.
        self._has_failed = False
        self.written: set[tuple[str, int]] = set()
        self._measured: str | None = None
        self._has_report = False  # Among the artifacts of the search's run.
        self.experiment_id: str | None = None
        self.parent_run_id: str | None = None
        self.run_ids: dict[str, str] = {}
        self.system_metrics: SystemMetrics | None = None

    def was_elsewhere(self, experiment_id: str | None, run_ids: Mapping[str, str]) -> None:
        """Takes over what the writer of another process has written."""
        self.experiment_id, self.run_ids = experiment_id, dict(run_ids)

    def write(self) -> None:
        """Writes what the journal of a running search says and MLflow lacks.

        Raises:
            TrackingError: MLflow failed; the message holds no credentials.
        """
        with self._wording_failures():
            with writing_alone(self._journal.path.parent, _PATIENCE):
                last = self._write_on()
            if isinstance(last, SearchEnded):
                self._has_failed = False
            self._measure()

    def write_all(self, history: Iterable[Event], progress: Progress = _ignore) -> Written:
        """Writes what MLflow lacks of a search that is over. Nobody else may be writing.

        Args:
            history: All of its events, in order.
            progress: Is called after each attempt.

        Returns:
            How many runs were written, by earlier calls that failed too.

        Raises:
            TrackingError: MLflow failed; the message holds no credentials.
        """
        with self._wording_failures():
            contents = contents_of(history, alive=False)
            if contents is None:
                return Written(0, 0)
            prepare(self._uri)
            self._write_lacking(contents, progress)
            return Written(len(self.written), len(contents.attempts) - len(self.written))

    def _write_on(self) -> Event | None:
        """Writes what the journal says since the last time, or all that MLflow lacks.

        Returns:
            The last of the events, if there are any.
        """
        if self._contents is not None:
            new, end = self._journal.read_from(self._read)
            if not self._may_differ(new):
                for event in new:
                    self._contents.take(event)
                self._write(self._contents)
                self._read = end
                return new[-1] if new else None
        prepare(self._uri)  # Before the journal is read, which may take longer.
        history, self._read = self._journal.read_from(0)
        contents = contents_of(history, alive=True)
        if contents is None:
            return None
        self._write_lacking(contents)
        self._contents = contents
        return history[-1]

    def _may_differ(self, new: Iterable[Event]) -> bool:
        """Says whether MLflow may have something else of the search than was written here.

        A search may have gone on elsewhere before it goes on here. And a request that seemed to have failed
        may have come through all the same: that is settled at the end.
        """
        doubtful = self._has_failed or self._runs.uncertain
        kinds = (SearchStarted, SearchEnded) if doubtful else SearchStarted
        return any(isinstance(event, kinds) for event in new)

    def _write_lacking(self, contents: SearchContents, progress: Progress = _ignore) -> None:
        """Writes what MLflow lacks, whatever it has."""
        self._runs = Runs(self._uri, contents.search.experiment)
        self._leave_out_what_is_there(contents)
        self._write(contents, progress)
        self.experiment_id = self._runs.experiment_id

    def _leave_out_what_is_there(self, contents: SearchContents) -> None:
        """Asks MLflow which runs there are, and leaves out what they hold."""
        search, runs = self._runs.of_search(contents.search.search_id)
        if search is None:
            self._create(contents.run)
        elif self._leave_out(contents.run, search):
            contents.mark_written()
        # That of an earlier session is there until this one has a result.
        if search is not None and any(_REPORT in each.files for each in contents.results):
            self._has_report = self._runs.has_artifact(contents.run.run_id, _REPORT)
        self.parent_run_id = contents.run.run_id
        self._lost = {}
        for key, run in sorted(runs.items()):
            attempt = contents.attempts.get(key)
            if attempt is not None:
                attempt.tags["mlflow.parentRunId"] = contents.run.run_id
                self._leave_out(attempt, run)
                continue
            # The journal has lost this one, so another attempt supersedes it.
            if run.info.status == "RUNNING":
                self._runs.client.set_terminated(run.info.run_id, "KILLED")
            if key[0] in contents.latest:
                self._runs.client.set_tag(run.info.run_id, "recdrop.kind", "superseded")
            else:
                self._lost[key[0]] = str(run.info.run_id)
        latest = contents.latest.values()
        self.run_ids = self._lost | {each.trial_id: each.run_id for each in latest if each.run_id}

    def _leave_out(self, contents: Contents, run: Any) -> bool:
        """Leaves out what a run holds; returns whether it is whole."""
        contents.run_id, held = run.info.run_id, run.data
        tags = {
            name: value
            for name, value in contents.tags.items()
            if held.tags.get(clean(name)) != tag(value)
        }
        whole = contents.end is not None and _is_whole(run, *contents.end)
        if whole:
            contents.mark_written()
        else:
            self._runs.go_on_with(run, reopen=contents.end is None)
            # Parameters that are there stay: MLflow does not let one change.
            names = clean_names(contents.params)
            contents.params = {
                names[name]: value
                for name, value in contents.params.items()
                if names[name] not in held.params
            }
        contents.tags = tags
        return whole

    def _create(self, contents: Contents) -> None:
        contents.run_id = self._runs.create(contents.name, contents.tags, contents.began)
        contents.tags = {}

    def _write(self, contents: SearchContents, progress: Progress = _ignore) -> None:
        """Writes what has changed: the runs of attempts, then that of the search."""
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
                self.written.add(attempt.key)
            attempt.mark_written()
            progress(number, len(contents.changed))
        contents.changed.clear()
        self._write_search(contents)

    def _write_run(self, contents: Contents) -> None:
        run_id = contents.run_id
        self._runs.write(run_id, contents.params, contents.points, contents.tags)
        for path, text in contents.texts.items():
            self._runs.text(run_id, text, path)

    def _write_search(self, contents: SearchContents) -> None:
        run = contents.run
        if contents.is_result_new and contents.result is not None:
            self._save(contents, contents.result)
        if contents.is_description_new:
            self._describe(contents)
        self._write_run(run)
        self._runs.inputs(run.run_id, contents.data)
        for trial_id, points in contents.confirmations.items():
            if trial_id in self.run_ids:
                self._runs.write(self.run_ids[trial_id], points=points)
        if run.end is not None:
            trials = (record.hyperparameters for record in contents.records.trials.values())
            self._runs.show(*view_of(contents.search, trials))
            self._runs.end(run.run_id, *run.end)
        contents.mark_written()

    def _save(self, contents: SearchContents, result: ResultSaved) -> None:
        """Uploads the files of a result, and logs the best model."""
        run_id, folder = contents.run.run_id, self._journal.path.parent
        with self._runs.unless_artifacts_fail(run_id, "the files of the result"):
            upload_result(self._runs.client, run_id, folder, result)
            self._has_report = _REPORT in result.files
        self._runs.write(run_id, points=result_points(result), tags=best_tags(result))
        with self._runs.unless_artifacts_fail(run_id, "the best model"):
            log_model(
                self._runs.client,
                # A trial from before the search was tracked has no run.
                self.run_ids.get(result.best_trial_id, run_id),
                folder,
                contents.search.search_id,
                also=[run_id],
                register_model=contents.search.register_model,
            )

    def _describe(self, contents: SearchContents) -> None:
        """Describes the search's run, unless it has a description that somebody else has written."""
        run, runs = contents.run, self._runs
        summaries = [each.summary for each in contents.results]
        if is_the_users(runs.client.get_run(run.run_id).data.tags.get(NOTE), summaries):
            return
        links = links_of(
            self._uri, runs.experiment_id, run.run_id, contents.search, report=self._has_report
        )
        folder = None if contents.alive else self._journal.path.parent
        run.tags[NOTE] = description(contents.records, run.end, contents.summary, links, folder)

    def _measure(self) -> None:
        """Measures the machine for the trial that is under way."""
        if self.system_metrics is None or self._contents is None:
            return
        run_id = next((run.run_id for run in reversed(self._contents.under_way.values())), None)
        if run_id == self._measured:
            return
        self._measured = None  # In case it fails.
        if run_id is None:
            self.system_metrics.stop()
        else:
            self.system_metrics.start(run_id)
        self._measured = run_id

    @contextmanager
    def _wording_failures(self) -> Iterator[None]:
        """Forgets what MLflow has where it fails, and says why in words without credentials."""
        try:
            yield
        except Exception as failure:  # MLflow lets SQLAlchemy's, requests' and its own errors out.
            self._contents, self._has_failed = None, True
            self.experiment_id = None  # What is there is incomplete: nobody should be sent to it.
            error = TrackingError(reason(failure, self._uri))
            error.transient = is_transient(failure)
            raise error from None


def _is_whole(run: Any, status: str, when: float) -> bool:
    """Says whether a run has this end, which is the last that is written to it, and lacks nothing."""
    return (
        LACKING not in run.data.tags
        and run.info.status == status
        and run.info.end_time is not None
        and int(run.info.end_time) == milliseconds(when)
    )
