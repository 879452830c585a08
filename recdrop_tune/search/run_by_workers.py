"""`tune` with several workers: what their processes are given, and what becomes of their findings here."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recdrop_tune.errors import RecdropError
from recdrop_tune.events import FILE, Event, Journal, Listener, TrackingWarning
from recdrop_tune.mlflow_store import Tracking
from recdrop_tune.ray_workers import Closed, FollowUp, Job, Team, process_settings
from recdrop_tune.search.confirm import ConfirmationPlan
from recdrop_tune.search.data_arguments import data_of, fit_arguments
from recdrop_tune.search.first_trials import enqueue_first_trials
from recdrop_tune.search.hypermodel_of import TrialHyperModel
from recdrop_tune.search.run_here import check_completed
from recdrop_tune.search.settings import Workers
from recdrop_tune.search.tuner_tracking import track
from recdrop_tune.tuner import SearchPlan, make_tuner

Parts = Mapping[str, Any]


@dataclass(frozen=True)
class Search:
    """A search by `tune` as its processes get it; what is large or the caller's is among the parts.

    Attributes:
        tuner: Name of the tuner.
        plan: The search, without hypermodel, sampler, pruner and storage.
        batch_size: Samples a batch, for arrays.
        tracked: Arguments of `track`, without data.
        confirmation: What is to be confirmed, without test data; `None` for nothing.
    """

    tuner: str
    plan: SearchPlan
    batch_size: int
    tracked: Mapping[str, Any]
    confirmation: ConfirmationPlan | None

    def make_tuner(self, parts: Parts, directory: Path | None) -> Any:
        """Makes the tuner, in the project folder or in another one."""
        model = TrialHyperModel(parts["model"], self.plan.objectives)
        optuna = {name: parts[name] for name in ("sampler", "pruner", "storage")}
        plan = replace(self.plan, hypermodel=model, **optuna)
        if directory is not None:  # A worker's, which never opens the study.
            plan = replace(plan, directory=directory, storage=None)
        return make_tuner(self.tuner, plan)

    def track(self, parts: Parts, tuner: Any) -> Tracking:
        """Tracks the tuner, where the oracle is."""
        enqueue_first_trials(tuner.oracle)
        data = {"training": "train", "validation": "validation", "test": "test"}
        found = {name: data_of(parts[part]) for name, part in data.items()}
        return track(tuner, data=found, **self.tracked)

    def arguments(self, parts: Parts) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Makes the arguments of `Model.fit`."""
        train, validation = data_of(parts["train"]), data_of(parts["validation"])
        fit = fit_arguments(train, validation, self.batch_size)
        own = {**parts["fit"], "callbacks": list(parts["callbacks"])}
        return (), {**fit, "epochs": self.plan.epochs, "verbose": 0, **own}

    def follow_up(self, parts: Parts) -> FollowUp | None:
        """Makes the confirmation."""
        if self.confirmation is None:
            return None
        return replace(self.confirmation, test=data_of(parts["test"]))


def search_with_workers(
    ray: Any,
    team: Workers,
    search: Search,
    parts: Parts,
    listeners: Iterable[Listener],
    tuner: Any,
) -> Tracking:
    """Runs a search by `tune` with several workers.

    Args:
        ray: Ray, connected.
        team: The workers.
        search: The search.
        parts: Its parts in Ray's store, by the names of the arguments of `tune`.
        listeners: Who is told of the events here.
        tuner: A tuner of the search in this process; it is given what was found.

    Returns:
        The tracking, as it would be here after the search.

    Raises:
        RecdropError: No trial was completed, or too many failed in a row.
    """
    ended = run_job(
        ray,
        team,
        Job(
            parts,
            search.make_tuner,
            search.track,
            search.arguments,
            search.follow_up,
            process_settings(),
        ),
        Path(tuner.project_dir),
        listeners,
    )
    tracking = found_elsewhere(tuner, ended, search.tracked)
    check_completed(tuner, ended.stopped_by)
    return tracking


def run_job(
    ray: Any, team: Workers, job: Job, folder: Path, listeners: Iterable[Listener]
) -> Closed:
    """Runs a job with several workers in a project folder; see `Team`."""
    folder = folder.absolute()
    told = list(listeners)

    def show(event: Event) -> None:
        for listener in list(told):
            try:
                listener.on_event(event)
            except Exception as failure:  # A terminal that is gone ends no search.
                told.remove(listener)
                what = f"{type(listener).__name__} failed and is left out: {failure}"
                warnings.warn(what, TrackingWarning, stacklevel=2)

    seen = len(Journal(folder / FILE).read())
    note: Callable[[str], None] = _say if told else _say_nothing
    try:
        return Team(ray, job, team, folder, actor_name(folder), show, note, seen).search()
    except RecdropError:
        raise
    except RuntimeError as error:
        if "consecutive failures" not in str(error):
            raise
        # Keras Tuner's own oracles raise it to the worker whose trial was the last of them.
        return Closed(stopped_by=str(error))


def actor_name(folder: Path) -> str:
    """Names a search in a cluster by its project folder, of which only one process may be at work."""
    return f"{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"


def found_elsewhere(tuner: Any, ended: Closed, tracked: Mapping[str, Any]) -> Tracking:
    """Has a tuner of this process know what the search has found, and returns its tracking."""
    with contextlib.redirect_stdout(io.StringIO()):
        tuner.reload()
    tracking = track(tuner, **tracked)
    tracking.was_elsewhere(ended.experiment_id, ended.failure, ended.run_ids)
    tracking.unsaved = ended.unsaved
    return tracking


def _say(text: str) -> None:
    print(text, flush=True)


def _say_nothing(text: str) -> None:
    """In the place of `_say`."""
