"""The check of where MLflow's runs go."""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from recdrop_tune.cli.doctor_checks import FAIL, OK, WARN, Check, why_not_writable

_OTHER = "Give another store with `--tracking-uri` or MLFLOW_TRACKING_URI."
_OLDER = f"Make a copy first: the MLflow that made it may not read it any more. {_OTHER}"
_WITHOUT = "A search runs without it too, and `recdrop-tune sync` writes its runs later."


def mlflow_store(given: str | None) -> Check:
    """Asks the store of MLflow's runs for its experiments; nothing is made or migrated.

    Args:
        given: Its address; by default the one that a search would take.
    """
    from recdrop_tune.credentials import hide_address
    from recdrop_tune.errors import InvalidArgumentError
    from recdrop_tune.mlflow_store import resolve_uri

    try:
        uri = resolve_uri(given)
    except InvalidArgumentError as error:
        return Check(FAIL, str(error), _OTHER)
    path = _sqlite_file(uri)
    if path is None:
        return _asked(uri, hide_address(uri))
    # MLflow would take the path in sqlite's own kind of URI for that of folders to make.
    return _file(path) or _asked(f"sqlite:///{path.as_posix()}", str(path))


def _sqlite_file(uri: str) -> Path | None:
    """Returns the file of a sqlite address, also of one as `sqlite:///file:mlflow.db?mode=rwc&uri=true`."""
    from sqlalchemy import make_url

    from recdrop_tune.mlflow_store import sqlite_path

    path = sqlite_path(uri)
    if path is not None or not uri.startswith("sqlite"):
        return path
    url = make_url(uri)
    name = url.database or ""
    if "uri" in url.query:
        name = unquote(urlsplit(name).path)
    if name in ("", ":memory:") or url.query.get("mode") == "memory":
        return None
    return Path(name).resolve()


def _file(path: Path) -> Check | None:
    """Looks at a sqlite file from outside; `None` if it can be opened."""
    if not path.exists():
        if why := why_not_writable(path.parent):
            return Check(FAIL, f"{path} cannot be made: {why}", _OTHER)
        return Check(OK, f"{path} is not there yet: the first search makes it")
    if not os.access(path, os.R_OK | os.W_OK):
        return Check(FAIL, f"{path} cannot be written to", f"Change its permissions. {_OTHER}")
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            database.execute("SELECT name FROM sqlite_master")
    except sqlite3.Error as error:
        return Check(FAIL, f"{path} is no sqlite database: {error}", f"Move it away. {_OTHER}")
    return None


def _asked(uri: str, shown: str) -> Check:
    from mlflow.tracking import MlflowClient

    from recdrop_tune.mlflow_store import prepare, reason

    try:
        _reach_database(uri)
        if (found := _without_tables(uri, shown)) is not None:
            return found
        prepare(uri)
        number = len(MlflowClient(tracking_uri=uri).search_experiments())
    except Exception as failure:  # MLflow lets SQLAlchemy's, requests' and its own errors out.
        server = uri.startswith(("http:", "https:"))
        fix = f"Start the server. {_OTHER} {_WITHOUT}" if server else _OTHER
        return Check(FAIL, f"{shown}: {reason(failure, uri)}", fix)
    return Check(OK, f"{shown} answers, with {number} experiment{'' if number == 1 else 's'}")


def _without_tables(uri: str, shown: str) -> Check | None:
    """Looks for tables that a database lacks: MLflow makes them as soon as it opens it."""
    from recdrop_tune.mlflow_store import PORTS, split

    if split(uri).scheme.partition("+")[0] not in (*PORTS, "sqlite"):
        return None
    import sqlalchemy
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.db.utils import create_sqlalchemy_engine  # With MLflow's certificates.
    from mlflow.store.tracking import sqlalchemy_store as _  # noqa: F401  # Fills the list of tables.

    engine = create_sqlalchemy_engine(uri)
    try:
        tables = set(sqlalchemy.inspect(engine).get_table_names())
    finally:
        engine.dispose()
    if not tables:
        return Check(OK, f"{shown} is empty: the first search makes its tables")
    if "experiments" not in tables:
        text = f"{shown} is no database of MLflow's, which would add its tables"
        return Check(WARN, text, _OTHER)
    if not tables.issuperset(Base.metadata.tables):
        return Check(WARN, f"{shown} is an older MLflow's: a search would migrate it", _OLDER)
    return None


def _reach_database(uri: str) -> None:
    """Fails at once if no database listens at an address: MLflow would try again for minutes."""
    from recdrop_tune.mlflow_store import PORTS, split

    parts = split(uri)
    port = parts.port or PORTS.get(parts.scheme.partition("+")[0])
    if parts.hostname and port and not uri.startswith(("http:", "https:")):
        socket.create_connection((parts.hostname, port), timeout=5).close()
