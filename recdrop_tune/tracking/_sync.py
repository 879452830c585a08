"""`sync`: brings MLflow up to date with a project folder, from nothing if need be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from recdrop_tune._arguments import is_name
from recdrop_tune.errors import ProjectError, invalid_argument, shown
from recdrop_tune.paths import check_folder
from recdrop_tune.tracking._events import ResultSaved, SearchStarted
from recdrop_tune.tracking._journal import FILE, Journal
from recdrop_tune.tracking._links import leaderboard_url, ui_command
from recdrop_tune.tracking._mlflow import MLflowTracker
from recdrop_tune.tracking._models import read_card
from recdrop_tune.tracking._result_files import files_of
from recdrop_tune.tracking._stores import settle_requests
from recdrop_tune.tracking._uris import HIDDEN, absolute, redact, resolve_uri


@dataclass(frozen=True)
class Synced:
    """What `sync` did.

    Attributes:
        experiment: Name of the MLflow experiment.
        tracking_uri: Where its runs are, without credentials.
        written: How many runs of trials were written, or brought to their end.
        there: How many were there already, whole.
        ui_command: The command that opens MLflow's pages on them; `None` where a server shows them.
        ui_url: The page that lists the trials, best first.
    """

    experiment: str
    tracking_uri: str
    written: int
    there: int
    ui_command: str | None
    ui_url: str | None


def sync(directory: str | Path, tracking_uri: str | None = None) -> Synced:
    """Writes what MLflow lacks of a search: after an outage, or into an empty store.

    Everything comes from the project folder. What is there stays as it is, and nothing is written twice.

    Args:
        directory: The project folder of the search.
        tracking_uri: Where MLflow keeps its runs. By default where the search had them; if that needs
            credentials, which are not kept, what `MLFLOW_TRACKING_URI` says.

    Raises:
        InvalidArgumentError: It is not known where to write, or one cannot write there.
        ProjectError: The folder holds no search, or one that somebody has changed, or a link, or the search
            is running: it writes by itself.
        TrackingError: MLflow failed; the message holds no credentials.

    Example:
        >>> sync("recdrop_runs/speech").written
        30
    """
    check_folder(directory)
    journal = Journal(Path(directory) / FILE)
    if journal.is_being_written():
        raise ProjectError(
            f"The search in `{directory}` is running, and writes to MLflow by itself as soon as it can. Wait "
            "for its end."
        )
    history = journal.read()
    last = next((e for e in reversed(history) if isinstance(e, SearchStarted)), None)
    if last is None:
        raise ProjectError(
            f"`{directory}` holds no search: there is no `{FILE}` with the beginning of one. Give the folder "
            "that was printed when the search began, by default one in `recdrop_runs`."
        )
    if not is_name(last.experiment):
        raise ProjectError(
            f"`{FILE}` in `{directory}` names the experiment {shown(last.experiment)}, which can be none: "
            "somebody has changed the file. Nothing was written."
        )
    for event in history:
        if isinstance(event, ResultSaved):
            files_of(directory, event)
    read_card(directory)
    uri = _uri(tracking_uri, last)
    settle_requests(uri)
    tracker = MLflowTracker(uri, journal)
    written = tracker.write(history, alive=False)
    store = redact(uri)
    url = leaderboard_url(
        store, tracker.experiment_id, last.search_id, ascending=last.direction == "min"
    )
    pages = ui_command(store, directory, elsewhere=absolute(store) != last.tracking_uri)
    return Synced(last.experiment, store, written.runs, written.there, pages, url)


def _uri(given: str | None, last: SearchStarted) -> str:
    if given is not None:
        return resolve_uri(given)
    kept = last.tracking_uri
    if kept is not None and HIDDEN not in kept:
        return resolve_uri(kept)
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise invalid_argument(
            "tracking_uri",
            expected="the address of the store, for its credentials are not kept in the folder",
            received=None,
            fix=f"Pass the one that is `{kept}` without them, or set MLFLOW_TRACKING_URI.",
        )
    return resolve_uri(None)
