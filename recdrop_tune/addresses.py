"""The addresses of tracking stores and other databases: which one is meant, and whether two are one."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from recdrop_tune.credentials import HIDDEN, hide_address
from recdrop_tune.errors import invalid_argument

DEFAULT_URI = "sqlite:///mlflow.db"
"""Where runs go if nothing else is said. (MLflow's older default, `./mlruns`, is refused by MLflow 3.)"""

# Databricks' names need no slashes: `databricks`, `databricks-uc`, `uc:...`.
_URI = re.compile(r"[\w+.-]+://|databricks(-uc)?$|uc(:|$)")

_USER = re.compile(r"://[^?]*@")

MAKING_TABLES = threading.Lock()
"""Held while tables are made: MLflow and Optuna do it by Alembic, which works for one thread at a time."""

PORTS = {"postgresql": 5432, "postgres": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433}


def resolve_uri(tracking_uri: str | None) -> str:
    """Returns the tracking URI to use: the argument, else `MLFLOW_TRACKING_URI`, else a file.

    Raises:
        InvalidArgumentError: It names a folder, which MLflow 3 refuses to write to, or nothing at all; or a
            file that SQLAlchemy would look for at another path.
    """
    uri: Any = tracking_uri
    if uri is None or (isinstance(uri, str) and not uri):
        uri = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    if not isinstance(uri, str) or not _is_address(uri) or uri.startswith("file:"):
        folder = not isinstance(uri, str) or "://" not in uri or uri.startswith("file:")
        raise invalid_argument(
            "tracking_uri",
            expected="a database or a server, such as sqlite:///mlflow.db or http://host:5000",
            received=hide_address(uri) if isinstance(uri, str) else uri,
            fix="MLflow 3 no longer writes to folders: use a sqlite file." if folder else "",
        )
    _check_path(uri)
    return uri


def _check_path(uri: str) -> None:
    """Raises where SQLAlchemy reads the absolute path of a sqlite file otherwise than it is written.

    It ends the path at a `?`, and from 2.1 on takes `%20` for a space. Neither can be escaped: MLflow makes
    the folders of the path as they are written.
    """
    path = sqlite_path(uri)
    if path is None or not {"?", "%"} & set(str(path)):
        return
    from sqlalchemy.engine import make_url  # Here, for it takes a while.

    if make_url(f"sqlite:///{path.as_posix()}").database != path.as_posix():
        raise invalid_argument(
            "tracking_uri",
            expected="a file in a folder without `?` and `%` in its name, which mean something else in the "
            "address of a database",
            received=str(path),
            fix="Name a file elsewhere, such as sqlite:////home/ann/mlflow.db.",
        )


def _is_address(uri: str) -> bool:
    """Says whether a URI can be taken apart."""
    try:
        _ = split(uri).port
        uri.encode()
    except ValueError:  # A port that is no number, half an IPv6 address, half a character.
        return False
    return bool(_URI.match(uri)) and "\0" not in uri


def split(uri: str) -> SplitResult:
    """Takes a URI apart, without its user information: a password may have a slash in it, or a bracket."""
    return urlsplit(uri if uri.startswith("sqlite") else _USER.sub("://", uri))


def sqlite_path(uri: str) -> Path | None:
    """Returns the file of a sqlite URI, absolute; `None` for another database or none."""
    match = re.match(r"sqlite(?:\+\w+)?:///(.*?)(?:\?.*)?$", uri)
    if match is None or match[1] in ("", ":memory:"):
        return None
    if match[1].startswith("file:"):
        return None  # sqlite's own kind of URI, which may name no file at all
    return Path(match[1]).resolve()


def is_server(uri: str) -> bool:
    """Says whether a URI is that of a server, which has pages of its own, rather than a database's."""
    return uri.partition(":")[0] in ("http", "https", "databricks", "databricks-uc", "uc")


def absolute(uri: str) -> str:
    """Makes a URI the same in every folder: that of a sqlite file has an absolute path.

    Options behind it stay, except where they are hidden: the file can be opened without them.

    Example:
        >>> absolute("sqlite:////home/ann/m.db?timeout=30"), absolute("sqlite:////home/ann/m.db?***")
        ('sqlite:////home/ann/m.db?timeout=30', 'sqlite:////home/ann/m.db')
    """
    path = sqlite_path(uri)
    if path is None:
        return uri
    _, mark, options = uri.partition("?")
    options = "" if HIDDEN in options else f"{mark}{options}"
    return f"{uri.partition(':')[0]}:///{path.as_posix()}{options}"


def same_database(one: str, other: str) -> bool:
    """Says whether two URIs lead to one database, however they are written."""
    return _database(one) is not None and _database(one) == _database(other)


def check_databases(storage: Any, uri: str) -> None:
    """Raises if an Optuna storage and MLflow would share a database.

    Args:
        storage: An Optuna storage, its URL, or `None`.
        uri: The tracking URI.

    Raises:
        InvalidArgumentError: They would, or the URL is none.
    """
    address = storage if isinstance(storage, str) else getattr(storage, "url", None)
    if isinstance(storage, str) and ("://" not in storage or not _is_address(storage)):
        raise invalid_argument(
            "storage",
            expected="the URL of a database, such as sqlite:///study.db, or a storage of Optuna's",
            received=hide_address(storage),
        )
    if isinstance(address, str) and same_database(address, uri):
        raise invalid_argument(
            "storage",
            expected="another database than MLflow's: both keep their version in the same table",
            received=hide_address(address),
            fix="Give Optuna a file of its own, or leave `storage` out.",
        )


def _database(uri: str) -> tuple[object, ...] | None:
    path = sqlite_path(uri)
    if path is not None:
        return ("sqlite", path)
    parts = split(uri)
    dialect = parts.scheme.split("+")[0].replace("postgresql", "postgres")
    if dialect in ("http", "https", "sqlite", ""):
        return None
    host = {"127.0.0.1": "localhost"}.get(parts.hostname or "localhost", parts.hostname)
    port = parts.port or PORTS.get(dialect)
    return (dialect, host or "localhost", port, parts.path.strip("/"))
