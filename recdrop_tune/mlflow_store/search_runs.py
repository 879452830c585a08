"""Writes the events of a search as they come: one run for the search, one below it for each trial."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from recdrop_tune import events
from recdrop_tune.events import Records, TrialRecord
from recdrop_tune.mlflow_store import contents as contents
from recdrop_tune.mlflow_store.artifacts import log_model, upload_result
from recdrop_tune.mlflow_store.runs import Point, Runs


class SearchRuns:
    """The runs of one search, all events up to now being in them.

    A trial that runs again gets a new run, for parameters and curves cannot be taken back: its earlier
    one stays, of the kind `superseded`.

    Args:
        api: The runs of the experiment.
        search: The beginning of the search.
        parent_run_id: The search's own run.
        run_ids: The last run of each trial.
        records: The records of the trials.
        folder: The project folder.
        under_way: The trials that are running.
    """

    def __init__(
        self,
        api: Runs,
        search: events.SearchStarted,
        parent_run_id: str,
        run_ids: dict[str, str],
        records: Records,
        folder: Path,
        under_way: Iterable[str] = (),
    ) -> None:
        self.api = api
        self.search = search
        self.parent_run_id = parent_run_id
        self.run_ids = run_ids
        self.records = records
        self.folder = folder
        self.under_way = set(under_way)
        self._saved = False

    def on_events(self, new: Sequence[events.Event]) -> None:
        """Writes the next events."""
        points: dict[str, list[Point]] = defaultdict(list)
        for event in new:
            before = self.records.trials.get(getattr(event, "trial_id", ""))
            self.records.on_event(event)
            if isinstance(event, events.EpochEnded):
                # All epochs that have come up since are one request.
                points[self.run_ids[event.trial_id]] += contents.epoch_points(event)
                continue
            self._write_points(points)
            self._write(event, before)
        self._write_points(points)

    def create(self, event: events.TrialStarted, tags: Mapping[str, str]) -> str:
        """Creates the run of an attempt at a trial."""
        return self.api.create(contents.run_name(event), tags, event.time)

    def tags(self, event: events.TrialStarted) -> dict[str, str]:
        """The tags of that run."""
        return contents.trial_tags(event, self.search.search_id, self.parent_run_id)

    def end_trial(self, run_id: str, record: TrialRecord) -> None:
        """Ends the run of a trial, with its error if it has one."""
        assert record.ended is not None
        end = record.ended
        if end.message:
            self.api.text(run_id, end.message, "error.txt")
        self.api.end(run_id, contents.STATUS[end.status], record.ended_at or end.time)

    def confirm(self, trainings: Iterable[events.ConfirmationEnded]) -> None:
        """Writes trainings of the confirmation to the runs of their trials."""
        points: dict[str, list[Point]] = defaultdict(list)
        for event in trainings:
            if event.trial_id in self.run_ids:
                points[self.run_ids[event.trial_id]] += contents.confirmation_points(event)
        self._write_points(points)

    def save(self, event: events.ResultSaved) -> None:
        """Uploads the files of a result, and logs the best model."""
        self._saved = True
        client, run_id = self.api.client, self.parent_run_id
        with self.api.unless_artifacts_fail(run_id, "the files of the result"):
            upload_result(client, run_id, self.folder, event)
        points, tags = contents.result_points(event), contents.best_tags(event)
        self.api.write(run_id, points=points, tags=tags)
        with self.api.unless_artifacts_fail(run_id, "the best model"):
            log_model(
                client,
                # A trial from before the search was tracked has no run.
                self.run_ids.get(event.best_trial_id, run_id),
                self.folder,
                self.search.search_id,
                also=[run_id],
                register_model=self.search.register_model,
            )

    def end_search(self, event: events.SearchEnded) -> None:
        """Ends the search's run."""
        if not self._saved:
            self.api.text(self.parent_run_id, self.records.to_csv(), "trials.csv")
        trials = (record.hyperparameters for record in self.records.trials.values())
        self.api.show(*contents.view_of(self.search, trials))
        self.api.end(self.parent_run_id, event.status, event.time)

    def _write_points(self, points: dict[str, list[Point]]) -> None:
        for run_id, of_run in points.items():
            self.api.write(run_id, points=of_run)
        points.clear()

    def _write(self, event: events.Event, before: TrialRecord | None) -> None:
        match event:
            case events.TrialStarted():
                self._start_trial(event, before)
            case events.ModelBuilt():
                points, tags = contents.model_points(event), contents.model_tags(event)
                self.api.write(self.run_ids[event.trial_id], points=points, tags=tags)
            case events.TrialEnded():
                record = self.records.trials[event.trial_id]
                self.under_way.discard(event.trial_id)
                run_id = self.run_ids[event.trial_id]
                points = contents.end_points(record, event.time)
                self.api.write(run_id, points=points, tags={"recdrop.state": event.status})
                self.end_trial(run_id, record)
                best = contents.best_points(self.records.trials.values(), self.search)
                self.api.write(self.parent_run_id, points=best[-1:])
            case events.ConfirmationEnded():
                self.confirm([event])
            case events.ResultSaved():
                self.save(event)
            case events.SearchEnded():
                self._kill_open_trials(event.time)
                self.end_search(event)

    def _start_trial(self, event: events.TrialStarted, before: TrialRecord | None) -> None:
        earlier = self.run_ids.get(event.trial_id)
        if earlier is not None:
            if before is not None and event.trial_id in self.under_way:
                self._kill(earlier, before.last_sign)
            self.api.write(earlier, tags={"recdrop.kind": "superseded"})
        self.under_way.add(event.trial_id)
        self.run_ids[event.trial_id] = run_id = self.create(event, self.tags(event))
        self.api.write(run_id, params=contents.trial_params(event.hyperparameters))

    def _kill_open_trials(self, when: float) -> None:
        for trial_id in sorted(self.under_way):
            self._kill(self.run_ids[trial_id], when)
        self.under_way.clear()

    def _kill(self, run_id: str, when: float) -> None:
        self.api.write(run_id, tags={"recdrop.state": events.KILLED})
        self.api.end(run_id, "KILLED", when)
