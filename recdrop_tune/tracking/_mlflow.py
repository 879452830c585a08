"""Projects the events of a search onto MLflow runs: one for the search, one below it for each trial."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from recdrop_tune.errors import RecdropError
from recdrop_tune.tracking import _events as events
from recdrop_tune.tracking._catch_up import is_of, milliseconds, unwritten
from recdrop_tune.tracking._records import Records, TrialRecord, asked
from recdrop_tune.tracking._stores import prepare, reason
from recdrop_tune.tracking._uris import sqlite_path

# Limits of one `log_batch`, and of the length of a parameter (mlflow.utils.validation).
_PARAMS_PER_BATCH, _PARAM_LENGTH = 100, 6000
_STATUS = {
    events.COMPLETE: "FINISHED",
    events.PRUNED: "KILLED",  # The table of runs shows a status, and no tag.
    events.FAILED: "FAILED",
    events.RETRY: "FAILED",
    events.KILLED: "KILLED",
}


class TrackingError(RecdropError):
    """MLflow did not take what it was given."""


class MLflowTracker:
    """Writes events to MLflow through its client, with explicit run ids and no global state.

    The runs of a search are found again by the tag `recdrop.search_id`, so a search that goes on
    goes on in the same runs. A trial that runs again gets a new run, though, for parameters and
    curves cannot be taken back: its earlier one stays, of the kind `superseded`.

    Args:
        tracking_uri: Where MLflow keeps its runs.
        history: Earlier events of the search, where it goes on.

    Attributes:
        experiment_id: The experiment, once there is one and until MLflow fails.
        parent_run_id: The run of the search, once there is one.
        run_ids: The last run of each trial.
    """

    def __init__(self, tracking_uri: str, history: Iterable[events.Event] = ()) -> None:
        self._uri = tracking_uri
        self._client: MlflowClient | None = None
        self._search: events.SearchStarted | None = None
        self._history = list(history)
        self._records = Records(self._history)
        self.experiment_id: str | None = None
        self.parent_run_id: str | None = None
        self.run_ids: dict[str, str] = {}

    def on_event(self, event: events.Event) -> None:
        """Writes one event.

        Raises:
            TrackingError: MLflow failed; the message holds no credentials.
        """
        before = self._records.trials.get(getattr(event, "trial_id", ""))
        self._records.on_event(event)
        if self._search is None and isinstance(event, events.TrialEnded):
            self._history.append(event)  # It makes up for a kill, before the search goes on.
            return
        try:
            self._write(event, before)
        except Exception as failure:  # MLflow lets SQLAlchemy's, requests' and its own errors out.
            self.experiment_id = None  # What is there is incomplete: nobody should be sent to it.
            raise TrackingError(reason(failure, self._uri)) from None

    def _write(self, event: events.Event, before: TrialRecord | None) -> None:
        match event:
            case events.SearchStarted():
                self._start_search(event)
            case events.TrialStarted():
                self._start_trial(event, before)
            case events.ModelBuilt(trial_id=id):
                self._metrics(self.run_ids[id], {"n_params": event.parameters}, 0, event.time)
            case events.ConfirmationEnded(trial_id=id) if event.score is not None:
                metrics = {f"confirmed/{name}": v for name, v in event.metrics.items()}
                metrics["confirmed"] = event.score
                self._metrics(self.run_ids[id], metrics, event.repeat, event.time)
            case events.EpochEnded(trial_id=id):
                prefix = f"execution{event.execution + 1}/" if event.execution else ""
                metrics = {f"{prefix}{name}": value for name, value in event.metrics.items()}
                self._metrics(self.run_ids[id], metrics, event.epoch, event.time)
            case events.TrialEnded():
                self._end_trial(event)
            case events.SearchEnded():
                self._end_search(event)

    @property
    def _api(self) -> Any:
        if self._client is None:
            # It would tell of each table that it makes, in the middle of the progress lines.
            logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
            prepare(self._uri)
            self._client = MlflowClient(tracking_uri=self._uri)
        return self._client

    def _start_search(self, event: events.SearchStarted) -> None:
        self._search = event
        self.experiment_id = self._experiment(event.experiment)
        known = self._find(f"tags.`recdrop.search_id` = '{event.search_id}'")
        runs = {
            run.data.tags["recdrop.trial_id"]: run
            for run in known
            if run.data.tags.get("recdrop.kind") == "trial"
        }
        self.run_ids = {trial_id: run.info.run_id for trial_id, run in runs.items()}
        parents = [run for run in known if run.data.tags.get("recdrop.kind") == "search"]
        self._start_parent(event, parents[0] if parents else None)
        finished = bool(parents) and parents[0].info.status == "FINISHED"
        self._catch_up(runs, finished)

    def _start_parent(self, event: events.SearchStarted, parent: Any) -> None:
        if parent is None:
            tags = {"recdrop.kind": "search", "recdrop.search_id": event.search_id}
            self.parent_run_id = self._create_run(event.name, tags, event.time)
        else:
            self.parent_run_id = str(parent.info.run_id)
            self._api.update_run(self.parent_run_id, status="RUNNING")
        params = {name: getattr(event, name) for name in ("tuner", "objective", "direction")}
        params |= {"max_trials": event.max_trials, **event.info}
        # Those that are there stay: MLflow does not let a parameter change.
        known = parent.data.params if parent is not None else {}
        self._params(self.parent_run_id, {n: v for n, v in params.items() if clean(n) not in known})
        if event.space is not None:
            self._api.log_text(self.parent_run_id, event.space, "space.yaml")

    def _catch_up(self, runs: Mapping[str, Any], finished: bool) -> None:
        """Writes what an earlier session was killed before it could write."""
        for event in unwritten(self._history, runs, finished):
            if isinstance(event, events.TrialStarted) and is_of(runs.get(event.trial_id), event):
                self._params(self.run_ids[event.trial_id], event.hyperparameters)
            else:
                self._write(event, None)
        self._history.clear()

    def _start_trial(self, event: events.TrialStarted, before: TrialRecord | None) -> None:
        if event.trial_id in self.run_ids:
            earlier = self.run_ids.pop(event.trial_id)
            self._supersede(earlier, before.last_sign if before else event.time)
        assert self._search is not None
        tags = {
            "mlflow.parentRunId": self.parent_run_id,
            "recdrop.kind": "trial",
            "recdrop.search_id": self._search.search_id,
            "recdrop.trial_id": event.trial_id,
            "recdrop.state": "RUNNING",
        }
        run_id = self._create_run(run_name(event), tags, event.time)
        self.run_ids[event.trial_id] = run_id
        self._params(run_id, event.hyperparameters)

    def _supersede(self, run_id: str, last_sign: float) -> None:
        """Sets an earlier run of a trial aside; ends it if a killed process could not."""
        if self._api.get_run(run_id).info.status == "RUNNING":
            self._api.set_tag(run_id, "recdrop.state", events.KILLED)
            self._end_run(run_id, "KILLED", last_sign)
        self._api.set_tag(run_id, "recdrop.kind", "superseded")

    def _end_trial(self, event: events.TrialEnded) -> None:
        run_id, record = self.run_ids[event.trial_id], self._records.trials[event.trial_id]
        self._metrics(run_id, _summary(record), 0, event.time)
        self._api.set_tag(run_id, "recdrop.state", event.status)
        if event.message:
            self._api.log_text(run_id, event.message, "error.txt")
        if event.status == events.COMPLETE:
            self._log_best(record.number, event.time)
        self._end_run(run_id, _STATUS[event.status], event.time)

    def _log_best(self, number: int, when: float) -> None:
        assert self._search is not None
        assert self.parent_run_id is not None
        every = [record.ended for record in self._records.trials.values() if record.ended]
        ended = [each for each in every if each.time <= when]
        scores = [each.score for each in ended if each.score is not None]
        best = min(scores) if self._search.direction == "min" else max(scores)
        self._metrics(self.parent_run_id, {f"best_{self._search.objective}": best}, number, when)

    def _end_search(self, event: events.SearchEnded) -> None:
        if self.parent_run_id is None:
            return
        for record in self._records.trials.values():
            if record.ended is None and record.trial_id in self.run_ids:
                run_id = self.run_ids[record.trial_id]
                self._api.set_tag(run_id, "recdrop.state", events.KILLED)
                self._end_run(run_id, "KILLED", event.time)
        self._api.log_text(self.parent_run_id, self._records.to_csv(), "trials.csv")
        self._end_run(self.parent_run_id, event.status, event.time)

    def _experiment(self, name: str) -> str:
        found = self._api.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        # By default artifacts of a sqlite store go to the working directory; keep them by the file.
        database = sqlite_path(self._uri)
        folder = None
        if database is not None:
            folder = (database.parent / "mlartifacts" / re.sub(r"[^\w.-]", "_", name)).as_uri()
        return str(self._api.create_experiment(name, artifact_location=folder))

    def _find(self, condition: str) -> list[Any]:
        found, token = [], None
        while True:
            page = self._api.search_runs([self.experiment_id], condition, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _create_run(self, name: str, tags: Mapping[str, Any], when: float) -> str:
        run = self._api.create_run(
            self.experiment_id, start_time=milliseconds(when), tags=dict(tags), run_name=name
        )
        return str(run.info.run_id)

    def _end_run(self, run_id: str, status: str, when: float) -> None:
        self._api.set_terminated(run_id, status=status, end_time=milliseconds(when))

    def _params(self, run_id: str, values: Mapping[str, Any]) -> None:
        # Inactive ones are written too: runs that lack a parameter drop out of MLflow's charts.
        params = [
            Param(clean(name), "n/a" if value is None else str(value)[:_PARAM_LENGTH])
            for name, value in values.items()
        ]
        for start in range(0, len(params), _PARAMS_PER_BATCH):
            self._api.log_batch(run_id, params=params[start : start + _PARAMS_PER_BATCH])

    def _metrics(self, run_id: str, values: Mapping[str, float], step: int, when: float) -> None:
        stamp = milliseconds(when)
        self._api.log_batch(
            run_id,
            metrics=[Metric(clean(name), value, stamp, step) for name, value in values.items()],
        )


def run_name(event: events.TrialStarted) -> str:
    """Names a trial's run by what it tries: MLflow's table shows little else at first."""
    shown = " ".join(
        " ".join([*([layer] if layer else []), *map(str, values.values())])
        for layer, values in asked(event.hyperparameters).items()
    )
    return f"{event.number:04d} {shown or event.trial_id}"


def clean(name: str) -> str:
    """Replaces the characters which MLflow refuses in the names of parameters and metrics."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _summary(record: TrialRecord) -> dict[str, float]:
    """The numbers of a whole trial, under names that are the same in every search."""
    score = record.ended.score if record.ended else None
    numbers = {
        "objective": score,
        "best_epoch": record.best_epoch,
        "epochs_run": len(record.epochs),
        "train_seconds": record.seconds,
    }
    return {name: float(value) for name, value in numbers.items() if value is not None}
