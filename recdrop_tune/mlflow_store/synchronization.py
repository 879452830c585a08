"""`sync`: brings MLflow up to date with a project folder, from nothing if need be."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recdrop_tune.addresses import absolute, resolve_uri
from recdrop_tune.credentials import HIDDEN, hide_address
from recdrop_tune.errors import ProjectError, invalid_argument, is_name, shown
from recdrop_tune.events import Event, ResultSaved, SearchStarted
from recdrop_tune.files import JOURNAL, check_folder
from recdrop_tune.journal import Journal
from recdrop_tune.mlflow_store.artifacts import files_of, read_card
from recdrop_tune.mlflow_store.lock import writing_alone
from recdrop_tune.mlflow_store.pages import leaderboard_url, ui_command
from recdrop_tune.mlflow_store.stores import settle_requests
from recdrop_tune.mlflow_store.writer import MLflowWriter, Progress, TrackingError, Written

_PATIENCE = 10.0
"""Seconds to wait for another process that is writing the same search."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 16.0
"""Seconds until a busy server is asked again: twice as many each time, 30 in all without a run written."""


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


def sync(
    directory: str | Path,
    tracking_uri: str | None = None,
    *,
    progress: Progress = lambda there, total: None,
) -> Synced:
    """Writes what MLflow lacks of a search: after an outage, or into an empty store.

    Everything comes from the project folder, which may be read-only. What is there stays as it is, and
    nothing is written twice: of two processes that write the same search one waits for the other, ten
    seconds. Requests that a busy server refuses are sent again, for as long as it takes anything.

    Args:
        directory: The project folder of the search.
        tracking_uri: Where MLflow keeps its runs. By default where the search had them; if that needs
            credentials, which are not kept, what `MLFLOW_TRACKING_URI` says.
        progress: Is called after each trial: how many have their runs, and how many there are.

    Raises:
        InvalidArgumentError: It is not known where to write, or one cannot write there.
        ProjectError: The folder holds no search, or one that somebody has changed, or a link, or the search
            is running: it writes by itself; or another process is writing it.
        TrackingError: MLflow failed; the message holds no credentials.

    Example:
        >>> sync("recdrop_runs/speech").written
        30
    """
    check_folder(directory)
    if not Path(directory, JOURNAL).is_file():  # Make nothing in a folder of something else.
        raise _no_search(directory)
    with writing_alone(directory, _PATIENCE) as alone:
        return _sync(directory, tracking_uri, progress, alone)


def _sync(
    directory: str | Path, tracking_uri: str | None, progress: Progress, alone: bool
) -> Synced:
    journal = Journal(Path(directory) / JOURNAL)
    if journal.is_being_written():
        raise ProjectError(
            f"The search in `{directory}` is running, and writes to MLflow by itself as soon as it can. Wait "
            "for its end."
        )
    history = journal.read()
    last = next((e for e in reversed(history) if isinstance(e, SearchStarted)), None)
    if last is None:
        raise _no_search(directory)
    if not is_name(last.experiment):
        raise ProjectError(
            f"`{JOURNAL}` in `{directory}` names the experiment {shown(last.experiment)}, which can be none: "
            "somebody has changed the file. Nothing was written."
        )
    for event in history:
        if isinstance(event, ResultSaved):
            files_of(directory, event)
    read_card(directory)
    uri = _uri(tracking_uri, last)
    settle_requests(uri)
    writer = MLflowWriter(uri, journal)
    written = _persistently(writer, history, progress)
    if not alone:  # Somebody else may have created the same runs meanwhile: of two one is deleted.
        writer.write_all(history)
    store = hide_address(uri)
    url = leaderboard_url(
        store, writer.experiment_id, last.search_id, ascending=last.direction == "min"
    )
    pages = ui_command(store, directory, elsewhere=absolute(store) != last.tracking_uri)
    return Synced(last.experiment, store, written.runs, written.there, pages, url)


def _no_search(directory: str | Path) -> ProjectError:
    return ProjectError(
        f"`{directory}` holds no search: there is no `{JOURNAL}` with the beginning of one. Give the folder "
        "that was printed when the search began, by default one in `recdrop_runs`."
    )


def _persistently(writer: MLflowWriter, history: Sequence[Event], progress: Progress) -> Written:
    """Writes a search, and starts again where the server was busy: what is there is not written again."""
    pause, before = _FIRST_PAUSE, 0
    while True:
        try:
            return writer.write_all(history, progress)
        except TrackingError as error:
            pause = 2 * pause if len(writer.written) == before else _FIRST_PAUSE
            if not error.transient or pause > _LONGEST_PAUSE:
                raise
        before = len(writer.written)
        time.sleep(pause)


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
