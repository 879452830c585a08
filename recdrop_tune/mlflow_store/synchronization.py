"""`sync`: brings MLflow up to date with a project folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recdrop_tune.addresses import absolute, resolve_uri
from recdrop_tune.errors import HIDDEN, ProjectError, format_repr, hide, invalid_argument, is_name
from recdrop_tune.events import Event, ResultSaved, SearchStarted
from recdrop_tune.files import JOURNAL, check_folder
from recdrop_tune.journal import Journal
from recdrop_tune.mlflow_store.artifacts import files_of, read_card
from recdrop_tune.mlflow_store.pages import leaderboard_url, ui_command
from recdrop_tune.mlflow_store.writer import MLflowWriter, Progress, writing_alone

_PATIENCE = 10.0
"""Seconds to wait for another process that is writing the same search."""


@dataclass(frozen=True)
class SyncReport:
    """What `sync` did.

    Attributes:
        experiment: Name of the MLflow experiment.
        tracking_uri: Where its runs are, without credentials.
        written: Number of runs of trials that were created or completed.
        there: Number of runs of trials that were complete before.
        ui_command: The command that opens MLflow's pages; `None` if a server shows them.
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
) -> SyncReport:
    """Writes what MLflow lacks of a search: after an outage, or to an empty store.

    The project folder can be read-only. Existing runs stay as they are, and nothing is written twice: of two
    processes that write the same search, one waits up to ten seconds for the other. After a failure, another
    call continues.

    Args:
        directory: The project folder of the search.
        tracking_uri: Where MLflow keeps its runs; by default where the search recorded them. If that needs
            credentials, which are not stored, it is `MLFLOW_TRACKING_URI`.
        progress: Called after each trial with the number of trials that have their runs, and of all trials.

    Raises:
        InvalidArgumentError: The tracking URI is unknown, or not one of a database or server.
        ProjectError: The folder holds no search, a damaged one, or a running one; or another process is
            writing it to MLflow.
        TrackingError: MLflow failed. The message contains no credentials.

    Example:
        >>> sync("recdrop_runs/speech").written
        30
    """
    check_folder(directory)
    journal = Journal(Path(directory, JOURNAL))
    if not journal.path.is_file():  # Before the lock is created in a folder of something else.
        raise _no_search(directory)
    with writing_alone(directory, _PATIENCE) as alone:
        if journal.is_being_written():
            raise ProjectError(
                f"The search in `{directory}` is running, and writes to MLflow itself. Wait for it to end."
            )
        history = journal.read()
        last = next((e for e in reversed(history) if isinstance(e, SearchStarted)), None)
        if last is None:
            raise _no_search(directory)
        _check_history(directory, history, last)
        uri = _uri(tracking_uri, last)
        writer = MLflowWriter(uri, journal, progress)
        written, there = writer.write_all(history)
        # Another process might have created the same runs; one of each two is deleted.
        if not alone:
            MLflowWriter(uri, journal).write_all(history)
    store = hide(uri)
    return SyncReport(
        last.experiment or last.name,
        store,
        written,
        there,
        ui_command(store, directory, elsewhere=absolute(store) != last.tracking_uri),
        leaderboard_url(store, writer.ids.experiment_id, last.search_id, last.direction == "min"),
    )


def _check_history(directory: str | Path, history: Sequence[Event], last: SearchStarted) -> None:
    """Raises, before anything is written, if the folder of a stranger names files elsewhere."""
    if not is_name(name := last.experiment or last.name):
        raise ProjectError(
            f"`{JOURNAL}` in `{directory}` names the experiment {format_repr(name)}, which MLflow does "
            "not accept. Nothing was written."
        )
    for event in history:
        if isinstance(event, ResultSaved):
            files_of(directory, event)
    read_card(directory)


def _no_search(directory: str | Path) -> ProjectError:
    """Makes the error of a folder that is not that of a search."""
    return ProjectError(
        f"`{directory}` holds no search: there is no `{JOURNAL}` with the start of one. Give the folder that "
        "was printed when the search started, by default one in `recdrop_runs`."
    )


def _uri(uri: str | None, last: SearchStarted) -> str:
    if uri is not None or last.tracking_uri is None:
        return resolve_uri(uri)
    if HIDDEN not in last.tracking_uri:
        return resolve_uri(last.tracking_uri)
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise invalid_argument(
            "tracking_uri",
            expected="the address of the store, whose credentials are not kept in the folder",
            received=None,
            fix=f"Pass `{last.tracking_uri}` with its credentials, or set MLFLOW_TRACKING_URI.",
        )
    return resolve_uri(None)
