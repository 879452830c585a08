"""Prepares the place where MLflow keeps its runs, and words its failures."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from mlflow.tracking import MlflowClient

from recdrop_tune.credentials import HIDDEN, scrub
from recdrop_tune.mlflow_store.uris import split, sqlite_path
from recdrop_tune.scratch import ScratchFolder, remove_abandoned

_STALE_SECONDS = 600.0
_LONGEST_REASON = 1000
"""Making the tables takes seconds: where there are no locks a folder that old is a killed process's."""

_REQUESTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""Environment variables whose values are not shown."""


def prepare(uri: str) -> None:
    """Makes sure that MLflow can open a store at once and whole.

    Args:
        uri: The tracking URI.

    Raises:
        OSError: Nothing listens at a server's address, or a file cannot be written.
    """
    # It would tell of each table that it makes, in the middle of the progress lines.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    _check_reachable(uri)
    path = sqlite_path(uri)
    if path is not None:
        remove_abandoned(_prefix(path), path.parent, _STALE_SECONDS)
        if not path.exists():
            _create_database(path)


def settle_requests(uri: str) -> None:
    """Bounds how long a request to a tracking server may take in this process, unless the user has.

    By default MLflow tries seven times, two minutes each. What fails here is tried again by itself; and
    an answer that takes longer than this is none. Nor is an address to be printed for each run that
    ends. Environment variables are MLflow's way of setting it.
    """
    if urlsplit(uri).scheme in ("http", "https"):
        for name, value in _REQUESTS.items():
            os.environ.setdefault(name, value)


def reason(failure: Exception, uri: str) -> str:
    r"""Words a failure in one line, without credentials, and with a remedy where one is known.

    Example:
        >>> reason(OSError("disk full\nmore"), "sqlite:///mlflow.db")
        'OSError: disk full'
    """
    # SQLAlchemy goes on with the whole statement and its values.
    # An answer in HTML may be one line of any length.
    first = str(failure).strip().partition("\n")[0][:_LONGEST_REASON].rstrip(". ")
    text = scrub(f"{type(failure).__name__}: {first}", uri)
    for name in _SECRETS:
        if secret := os.environ.get(name):
            text = text.replace(secret, HIDDEN)
    if sqlite_path(uri) is not None and "(sqlite3." in text:
        text += "; give another `uri`, or move the file away if it is damaged"
    return text


def _create_database(path: Path) -> None:
    """Makes a file with MLflow's tables, atomically.

    MLflow makes them one by one, over seconds, and can neither finish nor use a file in which a
    process was killed on the way. So they are made in a folder beside it: there is no file, or a
    whole one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with ScratchFolder(_prefix(path), path.parent) as folder:
        made, whole = folder.path / "made.db", folder.path / "whole.db"
        MlflowClient(tracking_uri=f"sqlite:///{made.as_posix()}").search_experiments(max_results=1)
        # MLflow keeps its connections. A copy has none, and needs no -wal or -journal file.
        with closing(sqlite3.connect(made)) as source, closing(sqlite3.connect(whole)) as target:
            source.backup(target)
        _put(whole, path)


def _put(whole: Path, path: Path) -> None:
    try:
        os.link(whole, path)  # Unlike `os.replace`, it never overwrites another process's runs.
    except FileExistsError:
        pass
    except OSError:  # A file system without hard links.
        if not path.exists():
            os.replace(whole, path)


def _prefix(path: Path) -> str:
    return f".{path.name}-new-"


def _check_reachable(uri: str) -> None:
    """Fails at once if nothing listens at a server's address: MLflow itself retries for minutes."""
    parts = split(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return
    if parts.scheme in getproxies() and not proxy_bypass(parts.hostname):
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    socket.create_connection((parts.hostname, port), timeout=5).close()
