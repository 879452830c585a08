"""Sends a request to MLflow again that a server was too busy for, a few times, each after a longer pause."""

from __future__ import annotations

import functools
import random
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import requests
import sqlalchemy
from mlflow.exceptions import MlflowException

_FIRST_PAUSE, _RETRIES = 0.25, 5
"""Seconds before the second try, twice as many before each further one: 8 seconds in all, with 5 retries.

Of a server that refuses 30 % of the requests one in 1,400 fails for good; half a minute, for an overloaded
server to recover, is what `Background` and `sync` wait.
"""

_BUSY = ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")


def is_transient(failure: BaseException | None) -> bool:
    """Says whether a request may succeed if it is sent again soon.

    A server was busy (429, 500, 502, 503, 504), a database locked, or a connection broke. A request without
    an answer in time is none of them: the next one would hang as long.
    """
    if failure is None:
        return False
    if isinstance(failure, requests.exceptions.Timeout):
        return False
    if isinstance(failure, requests.exceptions.RetryError | requests.exceptions.ConnectionError):
        return True
    response = getattr(failure, "response", None)
    if isinstance(failure, requests.exceptions.HTTPError) and response is not None:
        return bool(response.status_code == 429 or response.status_code >= 500)
    if isinstance(failure, sqlalchemy.exc.DBAPIError) and failure.orig is not None:
        # MLflow calls all failures of a database temporary. Of sqlite's only a lock is.
        code = getattr(failure.orig, "sqlite_errorcode", None)
        return code is None or code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    below = failure.__cause__ or failure.__context__
    if isinstance(failure, MlflowException) and failure.error_code in _BUSY:
        return not isinstance(below, sqlalchemy.exc.DBAPIError) or is_transient(below)
    # MLflow raises its own error in the place of requests'.
    return is_transient(below)


def pauses() -> Iterator[float]:
    """Yields how many seconds to wait before each further try.

    At random by half, so that processes that failed together do not come back together.
    """
    for number in range(_RETRIES):
        yield _FIRST_PAUSE * 2**number * random.uniform(0.5, 1.0)


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
