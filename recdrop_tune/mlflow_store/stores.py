"""The store where MLflow keeps its runs: creates it, limits its requests, and describes its failures."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import mlflow
import requests
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from recdrop_tune.addresses import absolute, is_server, parse, sqlite_path
from recdrop_tune.errors import RecdropError, hide
from recdrop_tune.files import remove_abandoned, scratch_folder

_LONGEST_REASON = 1000

_REQUESTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def prepare(uri: str) -> None:
    """Makes sure that MLflow can open a store at once and completely, and does not wait long for a server."""
    # By default, MLflow tries seven times for two minutes each, and could create a run twice.
    if uri.startswith(("http://", "https://")):
        for name, value in _REQUESTS.items():
            os.environ.setdefault(name, value)
    # It logs each table that it creates, in the middle of the progress lines.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    _check_reachable(uri)
    path = sqlite_path(uri)
    if path is not None:
        prefix = f".{path.name}-new-"
        remove_abandoned(prefix, path.parent)
        if not path.exists():
            _create_database(path, prefix)


def reason(failure: Exception, uri: str) -> str:
    """Describes a failure in one line, without credentials, and with a remedy if one is known."""
    # SQLAlchemy appends the whole statement and its values. An HTML answer can be one line of any length.
    first = str(failure).strip().partition("\n")[0][:_LONGEST_REASON].rstrip(". ")
    text = hide(f"{type(failure).__name__}: {first}")
    if sqlite_path(uri) is not None and "(sqlite3." in text:
        text += "; give another `uri`, or move the file away if it is damaged"
    return text


def in_context(uri: str, experiment: str | None) -> tuple[str | None, dict[str, str]]:
    """Returns the name of the experiment to use, and the tag that nests a run in the active run.

    By default it is the active experiment. An active run or experiment of another store does not count.
    """
    name = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if absolute(mlflow.get_tracking_uri()) != uri:
        return name, {}
    run = mlflow.active_run()
    tags = {} if run is None else {"mlflow.parentRunId": run.info.run_id}
    # `mlflow.set_experiment` sets the variable too.
    active = run.info.experiment_id if run else os.environ.get("MLFLOW_EXPERIMENT_ID")
    if experiment or not active:
        return name, tags
    try:
        prepare(uri)
        return MlflowClient(tracking_uri=uri).get_experiment(active).name, tags
    except Exception as failure:  # SQLAlchemy's, requests' or MLflow's own.
        what = f"MLflow's experiment {active} is active and cannot be read"
        raise RecdropError(f"{what}: {reason(failure, uri)}") from None


def _create_database(path: Path, prefix: str) -> None:
    """Creates a SQLite file with MLflow's tables, atomically."""
    # MLflow creates them one by one, over seconds, and cannot use a file in which it was killed halfway. So
    # they are created in a temporary folder next to the file.
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(prefix, path.parent) as folder:
        first, whole = folder / "made.db", folder / "whole.db"
        client = MlflowClient(tracking_uri=f"sqlite:///{first.as_posix()}")
        client.search_experiments(max_results=1)
        # MLflow keeps its connections open. A copy has none, and needs no -wal or -journal file.
        with closing(sqlite3.connect(first)) as source, closing(sqlite3.connect(whole)) as target:
            source.backup(target)
        with suppress(OSError):  # It exists by now, or the file system has no hard links.
            os.link(whole, path)  # Unlike `os.replace`, it never overwrites another process's runs.
        if not path.exists():
            os.replace(whole, path)


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


def is_without_answer(failure: BaseException) -> bool:
    """Returns whether MLflow itself was away or busy, rather than one of its artifact stores."""
    failed_request, each = requests.exceptions.RequestException, failure
    while (cause := each.__cause__ or each.__context__) is not None:
        if isinstance(each, MlflowException) and isinstance(cause, failed_request):
            return cause.response is None
        each = cause
    return False
