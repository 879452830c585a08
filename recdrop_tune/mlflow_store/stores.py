"""The store where MLflow keeps its runs: makes it, words its failures, and sends requests again."""

from __future__ import annotations

import functools
import logging
import os
import random
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import getproxies, proxy_bypass

import requests
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from recdrop_tune.addresses import MAKING_TABLES, is_server, parse, sqlite_path
from recdrop_tune.credentials import HIDDEN, scrub
from recdrop_tune.scratch import ScratchFolder, remove_abandoned

_LONGEST_REASON = 1000

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
        sqlalchemy.exc.OperationalError: A database refuses connections.
    """
    # It would log each table that it makes, in the middle of the progress lines.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    _check_reachable(uri)
    path = sqlite_path(uri)
    if path is not None:
        remove_abandoned(_prefix(path), path.parent)
        if not path.exists():
            _create_database(path)


def settle_requests(uri: str) -> None:
    """Bounds how long a request to a tracking server may take in this process, unless the user has.

    By default MLflow tries seven times, two minutes each. What fails here is tried again anyway; and an
    answer that takes longer than this is none. MLflow prints no address for each run that ends either.
    Environment variables are MLflow's way of setting it.
    """
    if uri.startswith(("http://", "https://")):
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

    MLflow makes them one by one, over seconds, and can neither finish nor use a file in which a process
    was killed on the way. So this makes them in a folder beside it: there is no file, or a whole one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with ScratchFolder(_prefix(path), path.parent) as folder:
        made, whole = folder.path / "made.db", folder.path / "whole.db"
        with MAKING_TABLES:
            client = MlflowClient(tracking_uri=f"sqlite:///{made.as_posix()}")
            client.search_experiments(max_results=1)
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
    """Fails at once if a server or a database is down: MLflow itself retries for minutes."""
    url = parse(uri)
    if url is None or url.get_backend_name() == "sqlite":
        return
    if not is_server(uri):
        from mlflow.store.db.utils import create_sqlalchemy_engine  # Slow to import.

        engine = create_sqlalchemy_engine(uri)
        try:
            engine.connect().close()
        finally:
            engine.dispose()
    elif url.drivername in ("http", "https") and url.host:
        if url.drivername in getproxies() and not proxy_bypass(url.host):
            return
        port = url.port or (443 if url.drivername == "https" else 80)
        socket.create_connection((url.host, port), timeout=5).close()


# Requests that a server was too busy for are sent again, a few times, each after a longer pause.

# Not Python's generator: the thread that writes to MLflow would draw from it while a model draws its weights.
_CHANCE = random.Random()

_FIRST_PAUSE, _RETRIES = 0.25, 5
"""Seconds before the second try, twice as many before each further one: 8 seconds in all, with 5 retries.

Of a server that refuses 30 % of the requests one in 1,400 fails for good; half a minute, for an overloaded
server to recover, is what `Background` and `sync` wait.
"""

_BUSY = ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_transient(failure: BaseException) -> bool:
    """Says whether a request may succeed if it is sent again soon.

    A server was busy (429, 500, 502, 503, 504), a database locked, or a connection broke. A request without
    an answer in time is none of them: the next one would hang as long.
    """
    # MLflow raises its own error in the place of requests' and SQLAlchemy's.
    causes = list(_causes(failure))
    if any(isinstance(each, TimeoutError | requests.exceptions.Timeout) for each in causes):
        return False
    return any(map(_is_busy, causes)) and not any(map(_is_lasting, causes))


def is_without_answer(failure: BaseException) -> bool:
    """Says whether MLflow gave no answer, or none in time: it is away itself, and not a store of its."""
    for each in _causes(failure):
        cause = each.__cause__ or each.__context__
        if isinstance(each, MlflowException) and isinstance(
            cause, requests.exceptions.RequestException
        ):
            return cause.response is None
    return False


def _causes(failure: BaseException | None) -> Iterator[BaseException]:
    while failure is not None:
        yield failure
        failure = failure.__cause__ or failure.__context__


def _is_busy(failure: BaseException) -> bool:
    if isinstance(failure, requests.exceptions.RetryError | requests.exceptions.ConnectionError):
        return True
    if isinstance(failure, requests.exceptions.HTTPError) and failure.response is not None:
        return bool(failure.response.status_code == 429 or failure.response.status_code >= 500)
    if isinstance(failure, MlflowException) and failure.error_code in _BUSY:
        return True
    return _sqlite_code(failure) in _LOCKED


def _is_lasting(failure: BaseException) -> bool:
    """Says whether sqlite has failed otherwise than by a lock: MLflow calls all of it temporary."""
    return _sqlite_code(failure) not in (None, *_LOCKED)


def _sqlite_code(failure: BaseException) -> int | None:
    """Returns sqlite's code of an error of SQLAlchemy's, without its details."""
    code = getattr(getattr(failure, "orig", None), "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def pauses() -> Iterator[float]:
    """Yields how many seconds to wait before each further try.

    At random by half, so that processes that failed together do not come back together.
    """
    for number in range(_RETRIES):
        yield _FIRST_PAUSE * 2**number * _CHANCE.uniform(0.5, 1.0)


class PersistentClient:
    """MLflow's client, which sends requests again while a server is busy.

    Not those that create something: the first may have come through. See `Runs.create`.

    Args:
        client: A `mlflow.tracking.MlflowClient`.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found) or name.startswith("create_"):
            return found

        @functools.wraps(found)
        def sent(*args: Any, **kwargs: Any) -> Any:
            for pause in pauses():
                try:
                    return found(*args, **kwargs)
                except Exception as failure:
                    if not is_transient(failure):
                        raise
                time.sleep(pause)
            return found(*args, **kwargs)

        return sent
