"""The check of where MLflow's runs go."""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from recdrop_tune.cli._checks import FAIL, OK, WARN, Check, why_not_writable

_OTHER = "Give another store with `--tracking-uri` or MLFLOW_TRACKING_URI."
_WITHOUT = "A search runs without it too, and `recdrop-tune sync` writes its runs later."


def mlflow_store(given: str | None) -> Check:
    """Asks the store of MLflow's runs for its experiments; one that is not there yet is not made.

    Args:
        given: Its address; by default the one that a search would take.
    """
    from recdrop_tune.errors import InvalidArgumentError
    from recdrop_tune.tracking._uris import redact, resolve_uri, sqlite_path

    try:
        uri = resolve_uri(given)
    except InvalidArgumentError as error:
        return Check(FAIL, str(error), _OTHER)
    path, shown = sqlite_path(uri), redact(uri)
    problem = None if path is None else _file(path)
    return problem or _asked(uri, shown)


def _file(path: Path) -> Check | None:
    """Looks at a sqlite file from outside; `None` if it is one of MLflow's."""
    if not path.exists():
        if why := why_not_writable(path.parent):
            return Check(FAIL, f"{path} cannot be made: {why}", _OTHER)
        return Check(OK, f"{path} is not there yet: the first search makes it")
    if not os.access(path, os.R_OK | os.W_OK):
        return Check(FAIL, f"{path} cannot be written to", f"Change its permissions. {_OTHER}")
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in names}
    except sqlite3.Error as error:
        return Check(FAIL, f"{path} is no sqlite database: {error}", f"Move it away. {_OTHER}")
    if not tables:
        return Check(OK, f"{path} is empty: the first search fills it")
    if "experiments" not in tables:
        return Check(WARN, f"{path} is no database of MLflow's, which would add its tables", _OTHER)
    return None


def _asked(uri: str, shown: str) -> Check:
    from mlflow.tracking import MlflowClient

    from recdrop_tune.tracking._stores import prepare, reason

    try:
        _reach_database(uri)
        prepare(uri)
        found = MlflowClient(tracking_uri=uri).search_experiments()
    except Exception as failure:  # MLflow lets SQLAlchemy's, requests' and its own errors out.
        server = uri.startswith(("http:", "https:"))
        fix = f"Start the server. {_OTHER} {_WITHOUT}" if server else _OTHER
        return Check(FAIL, f"{shown}: {reason(failure, uri)}", fix)
    number = len(found)
    return Check(OK, f"{shown} answers, with {number} experiment{'' if number == 1 else 's'}")


def _reach_database(uri: str) -> None:
    """Fails at once if no database listens at an address: MLflow would try again for minutes."""
    from recdrop_tune.tracking._uris import PORTS

    parts = urlsplit(uri)
    port = parts.port or PORTS.get(parts.scheme.partition("+")[0])
    if parts.hostname and port and not uri.startswith(("http:", "https:")):
        socket.create_connection((parts.hostname, port), timeout=5).close()
