"""Which search a command is about, where its runs are, and whether MLflow can be reached there."""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click

from recdrop_tune.files import JOURNAL, RUNS

# Loads TensorFlow without what it prints while it is loaded.


def load_quietly(*modules: str) -> None:
    """Imports modules that load TensorFlow, without what is written to stderr meanwhile.

    TensorFlow's libraries write of oneDNN and of missing CUDA drivers before any setting of its log holds.
    If an import fails, all that was written is shown after all.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "tensorflow" in sys.modules:
        return
    if sys.stderr is None:  # Closed, as by `2>&-`.
        _import(modules)
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        loaded = False
        try:
            _import(modules)
            loaded = True
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if not loaded:
                said.seek(0)
                os.write(2, said.read())


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        import_module(module)


def project_folder(directory: Path | None) -> Path | None:
    """Returns the folder of a search: `directory`, or the newest one in `recdrop_runs`.

    Raises:
        click.ClickException: `directory` is not the folder of a search.
    """
    if directory is None:
        folders = [path.parent for path in Path(RUNS).glob(f"*/{JOURNAL}")]
        return max(folders, key=lambda folder: (folder / JOURNAL).stat().st_mtime, default=None)
    if not directory.is_dir():
        raise click.ClickException(f"There is no folder {directory}.")
    if not (directory / JOURNAL).exists():
        raise click.ClickException(
            f"The folder {directory} holds no search of recdrop-tune: it has no {JOURNAL}."
        )
    return directory


def search_in(folder: Path) -> Any:
    """Reads how the search in a folder was begun: its last `SearchStarted`.

    Raises:
        click.ClickException: Its events do not say.
    """
    from recdrop_tune.errors import ProjectError
    from recdrop_tune.events import SearchStarted
    from recdrop_tune.journal import Journal

    try:
        events = Journal(folder / JOURNAL).read()
    except (OSError, ProjectError) as error:
        raise click.ClickException(f"{folder / JOURNAL} cannot be read: {error}") from None
    begun = [event for event in events if isinstance(event, SearchStarted)]
    if not begun:
        raise click.ClickException(f"No search has been started in {folder}.")
    return begun[-1]


def tracking_uri(given: str | None, search: Any) -> str:
    """Returns the tracking URI to use: the one given, that of the search, else the one that `tune` would use.

    Raises:
        click.ClickException: It is none that MLflow 3 can work with.
    """
    from recdrop_tune.addresses import resolve_uri
    from recdrop_tune.credentials import HIDDEN
    from recdrop_tune.errors import InvalidArgumentError

    kept = None if search is None else search.tracking_uri
    if given is None and kept is not None and HIDDEN not in kept:
        return str(kept)
    try:
        return resolve_uri(given)
    except InvalidArgumentError as error:
        raise click.ClickException(str(error)) from None


def be_quick_and_quiet() -> None:
    """Makes MLflow's client give up within seconds, not four minutes, and TensorFlow report no devices."""
    be_quiet()
    for name, value in (("MAX_RETRIES", "1"), ("BACKOFF_FACTOR", "1"), ("TIMEOUT", "20")):
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)


def be_quiet() -> None:
    """Keeps TensorFlow from reporting devices, and requests to this machine from going to a proxy."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A proxy has no business with this machine.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))


# Whether MLflow can be reached where the runs go.

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Check:
    """The outcome of a check.

    Attributes:
        level: `ok`, `warn` or `fail`.
        text: What was found.
        fix: What to do about it.
    """

    level: str
    text: str
    fix: str = ""

    def line(self) -> str:
        r"""Returns text and remedy as one line.

        Example:
            >>> Check("warn", "No room:\n3 MiB", "Make some.").line()
            'No room: 3 MiB. Make some.'
        """
        text = " ".join(self.text.split())
        if not self.fix:
            return text
        return f"{text.rstrip('.')}. {' '.join(self.fix.split())}"


def why_not_writable(place: Path) -> str:
    """Says why nothing can be made at a path, there or not; empty if it can. Nothing is left there."""
    there = next(path for path in (place, *place.parents) if path.exists())
    try:
        # As a search asks it. Where TensorFlow is broken, `search` cannot be imported to ask for it.
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        return str(error)
    return ""


_OTHER = "Give another store with `--tracking-uri` or MLFLOW_TRACKING_URI."
_OLDER = f"Make a copy first: the MLflow that made it may not read it any more. {_OTHER}"
_WITHOUT = "A search runs without it too, and `recdrop-tune sync` writes its runs later."


def mlflow_store(given: str | None) -> Check:
    """Asks a store, by default the one that a search would use, for its experiments; nothing is changed."""
    from recdrop_tune.addresses import resolve_uri
    from recdrop_tune.credentials import hide_address
    from recdrop_tune.errors import InvalidArgumentError

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
    from sqlalchemy.engine import make_url

    from recdrop_tune.addresses import sqlite_path

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
    from recdrop_tune.addresses import is_server

    if is_server(uri):
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
    from recdrop_tune.addresses import is_server, parse

    url = parse(uri)
    if url is not None and url.host and url.port and not is_server(uri):
        socket.create_connection((url.host, url.port), timeout=5).close()
