"""Where to look at a search in MLflow's pages."""

from __future__ import annotations

from urllib.parse import quote

_LOCAL = "http://127.0.0.1:5000"


def ui_command(uri: str) -> str | None:
    """Returns the command that serves MLflow's pages; `None` if `uri` is a server, which does so."""
    return None if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri}"


def leaderboard_url(uri: str, experiment_id: str | None, search_id: str, ascending: bool) -> str:
    """Returns the address of a table of the trials alone, best first.

    By itself MLflow's table shows the search's run, folded. The parameters of the address are those
    of its pages (seen in MLflow 3.17), not a documented interface.

    Args:
        uri: Tracking URI.
        experiment_id: The experiment.
        search_id: The search.
        ascending: Whether the smallest objective is the best.
    """
    host = _LOCAL if ui_command(uri) else uri.rstrip("/")
    query = {
        "workflowType": "machine_learning",
        "searchFilter": f"tags.`recdrop.search_id` = '{search_id}' AND tags.`recdrop.kind` = 'trial'",
        "orderByKey": "metrics.`objective`",
        "orderByAsc": str(ascending).lower(),
    }
    words = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
    return f"{host}/#/experiments/{experiment_id}/runs?{words}"
