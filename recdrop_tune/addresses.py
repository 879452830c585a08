"""Addresses of tracking stores: which one to use, and what kind it is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recdrop_tune.errors import HIDDEN, hide, invalid_argument

if TYPE_CHECKING:
    from sqlalchemy import URL

DEFAULT_URI = "sqlite:///mlflow.db"
"""The default store. (MLflow's older default, `./mlruns`, is refused by MLflow 3.)"""

# The user, the host with its port, and the rest. Only here may a password contain an @.
_WEB = re.compile(r"(https?://)(?:[^/?#]*@)?((?:\[[^]]*\]|[^:/?#@]+)(?::\d+)?)(?:[/?#].*)?", re.S)

_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///([^?]*)(?:\?.*)?", re.S)


def parse(uri: Any) -> URL | None:
    """Returns the parts of an address, as SQLAlchemy reads them; `None` for anything else."""
    from sqlalchemy import make_url  # Slow to import.
    from sqlalchemy.exc import ArgumentError

    try:
        web = _WEB.fullmatch(uri) if isinstance(uri, str) else None
        return make_url(f"{web[1]}{web[2]}" if web else uri)
    except (ArgumentError, ValueError):  # The latter for a port that is not a number.
        return None


def resolve_uri(tracking_uri: str | None) -> str:
    """Returns the tracking URI to use: the argument, else `MLFLOW_TRACKING_URI`, else a file."""
    uri: Any = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    url = parse(uri)
    if _is_databricks(uri) or (url is not None and url.drivername != "file"):
        return str(uri)
    raise invalid_argument(
        "tracking_uri",
        expected="a database or a server, such as sqlite:///mlflow.db or http://host:5000",
        received=hide(uri) if isinstance(uri, str) else uri,
        fix="MLflow 3 no longer writes to folders.",
    )


def sqlite_path(uri: str) -> Path | None:
    """Returns the absolute path of a SQLite file; `None` for other addresses and for SQLite in memory."""
    found = _SQLITE.fullmatch(uri)
    # `file:` is SQLite's own kind of URI, which can name a database in memory.
    if found is None or found[1] in ("", ":memory:") or found[1].startswith("file:"):
        return None
    return Path(found[1]).resolve()


def is_server(uri: str) -> bool:
    """Returns whether an address is that of a tracking server, which also serves its pages."""
    return uri.startswith(("http://", "https://")) or _is_databricks(uri)


def absolute(uri: str) -> str:
    """Returns an address that means the same in every folder: SQLite files get an absolute path."""
    path = sqlite_path(uri)
    if path is None:
        return uri
    # SQLAlchemy would escape the path, and MLflow make folders with the escapes in their names.
    _, mark, options = uri.partition("?")
    options = "" if HIDDEN in options else f"{mark}{options}"
    return f"{uri.partition(':')[0]}:///{path.as_posix()}{options}"


def _is_databricks(uri: Any) -> bool:
    # These names need no slashes: `databricks`, `databricks-uc`, `uc:...`.
    return isinstance(uri, str) and uri.partition(":")[0] in ("databricks", "databricks-uc", "uc")
