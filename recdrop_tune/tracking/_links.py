"""Where to look at a search in MLflow's pages."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

from recdrop_tune.credentials import HIDDEN
from recdrop_tune.tracking._uris import absolute, is_server, sqlite_path

_LOCAL = "http://127.0.0.1:5000"


def command(*words: str) -> str:
    """Returns a command of this package's, as one line for any folder and any environment.

    Example:
        >>> command("sync", "recdrop_runs/speech")
        'recdrop-tune sync recdrop_runs/speech'
    """
    found = shutil.which("recdrop-tune")
    if found is not None and Path(found).parent == Path(sys.executable).parent:
        return shlex.join(["recdrop-tune", *words])
    # With `-P`, for `-m` alone would look for modules in the current folder first.
    return shlex.join([sys.executable, "-P", "-m", "recdrop_tune.cli", *words])


def ui_command(uri: str, directory: str | Path, elsewhere: bool = False) -> str | None:
    """Returns the command that opens MLflow's pages on a search.

    Args:
        uri: Tracking URI, without credentials.
        directory: The project folder.
        elsewhere: Whether that is not where the search had its runs, which the folder knows.

    Returns:
        The command; `None` where a server shows them already, where the runs are in memory, and
        where the command would need what is not shown of the URI.
    """
    if is_server(uri) or HIDDEN in uri:
        return None
    if uri.startswith("sqlite") and sqlite_path(uri) is None:
        return None
    place = ["--tracking-uri", absolute(uri)] if elsewhere else []
    return command("ui", str(Path(directory).resolve()), *place)


def leaderboard_url(
    uri: str, experiment_id: str | None, search_id: str, ascending: bool
) -> str | None:
    """Returns the address of a table of the trials alone, best first.

    By itself MLflow's table shows the search's run, folded. The parameters of the address are those
    of its pages (seen in MLflow 3.17), not a documented interface.

    Args:
        uri: Tracking URI, without credentials.
        experiment_id: The experiment; `None` if MLflow has none or has failed.
        search_id: The search.
        ascending: Whether the smallest objective is the best.

    Returns:
        The address; `None` without an experiment, and for Databricks, whose pages are its own.
    """
    if experiment_id is None or (is_server(uri) and not uri.startswith("http")):
        return None
    host = uri.replace(f"{HIDDEN}@", "").rstrip("/") if is_server(uri) else _LOCAL
    query = {
        "workflowType": "machine_learning",
        "searchFilter": f"tags.`recdrop.search_id` = '{search_id}' AND tags.`recdrop.kind` = 'trial'",
        "orderByKey": "metrics.`objective`",
        "orderByAsc": str(ascending).lower(),
    }
    words = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
    return f"{host}/#/experiments/{experiment_id}/runs?{words}"
