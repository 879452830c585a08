"""The addresses of tracking stores, and the names that MLflow takes."""

from __future__ import annotations

import hashlib
import math
import os
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from recdrop_tune.credentials import hide_address
from recdrop_tune.errors import invalid_argument

# Tracking URIs: which one is meant, and whether two are one database.

DEFAULT_URI = "sqlite:///mlflow.db"
"""Where runs go if nothing else is said. (MLflow's older default, `./mlruns`, is refused by MLflow 3.)"""

# Databricks' names need no slashes: `databricks`, `databricks-uc`, `uc:...`.
_URI = re.compile(r"[\w+.-]+://|databricks(-uc)?$|uc(:|$)")

_USER = re.compile(r"://[^?]*@")

PORTS = {"postgresql": 5432, "postgres": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433}


def resolve_uri(tracking_uri: str | None) -> str:
    """Returns the tracking URI to use: the argument, else `MLFLOW_TRACKING_URI`, else a file.

    Raises:
        InvalidArgumentError: It names a folder, which MLflow 3 refuses to write to, or nothing at all.
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
    return uri


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
    """Makes a URI the same in every folder: that of a sqlite file has an absolute path."""
    path = sqlite_path(uri)
    return uri if path is None else f"{uri.partition(':')[0]}:///{path.as_posix()}"


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


# Names and values as MLflow takes them.

LONGEST_NAME = 250
LONGEST_PARAMETER = 6000
LONGEST_TAG = 8000
"""Limits of MLflow 3, in characters; its database has columns of these widths."""


def clean(name: str) -> str:
    """Makes the name of a parameter, metric or tag one that MLflow takes.

    It refuses most punctuation, what looks like a path to somewhere else, and very long names.

    Example:
        >>> clean("top 5% [val]"), clean("/a/../b")
        ('top 5_ _val_', 'a/__/b')
    """
    parts = re.sub(r"[^\w\-. :/]", "_", name).split("/")
    kept = [part if part.strip(".") else "_" * len(part) for part in parts if part]
    cleaned = posixpath.normpath("/".join(kept)) if kept else "_"
    return cleaned if len(cleaned) <= LONGEST_NAME else _shortened(cleaned, name)


def clean_names(names: Iterable[str]) -> dict[str, str]:
    """Makes several names ones that MLflow takes, and keeps them apart.

    Example:
        >>> clean_names(["a%", "b"])
        {'a%': 'a_', 'b': 'b'}
    """
    names = list(names)
    found: dict[str, str] = {}
    ordered = sorted(names, key=lambda name: (clean(name) != name, name))  # Good names stay.
    for name in ordered:
        cleaned = clean(name)
        found[name] = _shortened(cleaned, name) if cleaned in found.values() else cleaned
    return {name: found[name] for name in names}


def parameter(value: object) -> str:
    """Writes the value of a parameter; an inactive one too.

    Runs that lack a parameter drop out of MLflow's charts.
    """
    return _cut("n/a" if value is None else str(value), LONGEST_PARAMETER)


def tag(value: object) -> str:
    """Writes the value of a tag."""
    return _cut(str(value), LONGEST_TAG)


def metric(value: float) -> float:
    """Returns the value of a metric; infinity becomes NaN.

    MLflow would store 1.8e308 in its place, and a chart would show nothing else.
    """
    value = float(value)
    return value if math.isfinite(value) else math.nan


def _shortened(cleaned: str, name: str) -> str:
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{cleaned[: LONGEST_NAME - 9].rstrip('/')}-{mark}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
