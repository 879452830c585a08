"""Sends a request to MLflow again that a server was too busy for, a few times, each after a longer pause."""

from __future__ import annotations

import functools
import random
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import requests
from mlflow.exceptions import MlflowException

# Of its own: the thread that writes to MLflow would draw from Python's while a model draws its weights.
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
    """MLflow's client, whose requests are sent again while a server is busy.

    Those that create something are not: the first may have come through. See `Runs.create`.

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
