"""`recdrop-tune ui`: MLflow's pages, opened on the trials of a search."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.request import ProxyHandler, build_opener

import click

from recdrop_tune.cli.store import (
    be_quick_and_quiet,
    load_quietly,
    project_folder,
    search_in,
    tracking_uri,
)
from recdrop_tune.errors import plain
from recdrop_tune.scratch import ScratchFolder

# An MLflow server as a child process: started, waited for, and ended with the command.

_HOST = "127.0.0.1"
_FIRST, _PORTS = 5000, 100
_START_SECONDS = 120.0
_STOP_SECONDS = 5.0


def pick_port(port: int | None) -> int:
    """Returns a port of loopback that is free: `port`, or the first one from 5000 on.

    Raises:
        click.ClickException: `port` is taken.
    """
    if port is not None:
        if not _is_free(port):
            raise click.ClickException(
                f"Port {port} is taken. Give another `--port`, or leave it out for a free one."
            )
        return port
    free = next((each for each in range(_FIRST, _FIRST + _PORTS) if _is_free(each)), None)
    if free is None:
        raise click.ClickException(f"The ports {_FIRST} to {_FIRST + _PORTS - 1} are all taken.")
    return free


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the server does: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError):
            return False
        return True


class Server:
    """Serves MLflow's pages on a database, to this machine alone, for as long as a block lasts.

    Args:
        store: Tracking URI of the database.
        port: The port.
    """

    def __init__(self, store: str, port: int) -> None:
        self.uri = f"http://{_HOST}:{port}"
        self._folder = ScratchFolder("recdrop-ui-")
        self._log = self._folder.path / "server.log"
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", _HOST, "--port", str(port)]
        # A database's password is nothing for the list of processes.
        environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": store}
        # Eight more processes, which evaluate language models.
        environment.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
        environment.pop("MLFLOW_TRACKING_URI", None)
        # `-m` looks for modules in the current folder first, here and where MLflow starts uvicorn, which then
        # does so by itself: a `yaml.py` that lies there would be run.
        environment.update(PYTHONSAFEPATH="1", UVICORN_APP_DIR=str(self._folder.path))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                # So that it keeps its folder where this process is killed and it lives on.
                pass_fds=() if self._folder.lock is None else (self._folder.lock,),
            )

    def __enter__(self) -> Self:
        """Returns itself, to be ended with the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the server and its workers."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self._signal(signal.SIGKILL)  # Its workers, if it has left any.
        self._process.wait()
        self._folder.remove()

    def wait_until_up(self) -> None:
        """Waits until the server answers.

        Raises:
            click.ClickException: It has ended, or does not answer within two minutes.
        """
        # A proxy of the environment has no business with loopback.
        opener = build_opener(ProxyHandler({}))
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                opener.open(f"{self.uri}/health", timeout=5).close()
                return
            except OSError:
                if self._process.poll() is not None:
                    raise self._failure("could not be started") from None
                if time.monotonic() > deadline:
                    raise self._failure(f"did not answer within {_START_SECONDS:.0f} s") from None
                time.sleep(0.2)

    def wait_until_down(self) -> None:
        """Waits for ever, or until the server ends.

        Raises:
            click.ClickException: It has ended.
        """
        self._process.wait()
        raise self._failure("has ended")

    def _failure(self, what: str) -> click.ClickException:
        from recdrop_tune.credentials import hide

        lines = self._log.read_text(errors="replace").splitlines()
        # SQLAlchemy and MLflow quote the address of a database that they cannot open.
        said = "\n".join(hide(line) for line in lines[-12:])
        return click.ClickException(f"MLflow's server {what}. It said:\n{said}")

    def _signal(self, which: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, which)


# Which page of MLflow's to open: the trials of a search, best first, with columns and charts.


def page_of(uri: str, search_id: str | None, where: str) -> str:
    """Finds a search on a server and returns the page of its trials.

    `None` is the search that was started last. The view that the page shows is made where the experiment
    has none yet. Messages call the store `where`.

    Raises:
        click.ClickException: There is no such search, or the server fails.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    from recdrop_tune.mlflow_store import reason

    try:
        return _find(MlflowClient(tracking_uri=uri), uri, search_id, where)
    except (MlflowException, OSError) as failure:
        raise click.ClickException(
            f"MLflow at {where} does not answer as it should: {reason(failure, uri)}"
        ) from None


def _find(client: Any, uri: str, search_id: str | None, where: str) -> str:
    from recdrop_tune.credentials import hide_address
    from recdrop_tune.mlflow_store import leaderboard_url, view_url

    search = _search(client, search_id)
    if search is None:
        what = "no search of recdrop-tune" if search_id is None else "no run of this search"
        raise click.ClickException(
            f"There is {what} in {where}. Give the store that it was recorded in with `--tracking-uri`."
        )
    ascending = search.data.params.get("direction", "min").partition(",")[0] != "max"
    place = (hide_address(uri), search.info.experiment_id, search.data.tags["recdrop.search_id"])
    make = view_url if _has_view(client, search, ascending) else leaderboard_url
    url = make(*place, ascending)
    if url is None:
        raise click.ClickException(f"{where} has pages of its own: open them there.")
    return url


def _search(client: Any, search_id: str | None) -> Any:
    """The run of a search, `None` if there is none."""
    condition = "tags.`recdrop.kind` = 'search'"
    if search_id is not None:
        condition += f" AND tags.`recdrop.search_id` = '{search_id}'"
    experiments = [each.experiment_id for each in client.search_experiments()]
    if not experiments:
        return None
    found = client.search_runs(experiments, condition, max_results=1)  # the newest one
    return found[0] if found else None


def _has_view(client: Any, search: Any, ascending: bool) -> bool:
    """Makes the view of a search if there is none; says whether there is one now."""
    from mlflow.exceptions import MlflowException

    from recdrop_tune.mlflow_store import searched, view_tag

    objective = search.data.params.get("objective", "val_loss").partition(",")[0]
    id, experiment = search.data.tags["recdrop.search_id"], search.info.experiment_id
    condition = f"tags.`recdrop.search_id` = '{id}' AND tags.`recdrop.kind` = 'trial'"
    trials = client.search_runs([experiment], condition, max_results=100)
    names = searched(trial.data.params for trial in trials)
    key, value = view_tag(id, objective, ascending, names)
    if client.get_experiment(experiment).tags.get(key) == value:
        return True
    try:
        client.set_experiment_tag(experiment, key, value)
    except MlflowException:  # Somebody who may read, and not write.
        return False
    return True


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--tracking-uri", "uri", help="Database or server with the runs.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port; by default 5000 or the next.")
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
def ui(directory: Path | None, uri: str | None, port: int | None, no_browser: bool) -> None:
    """Opens MLflow's pages on the trials of a search, best first.

    DIR is the project folder of the search; left out, the newest one in recdrop_runs, else the
    search that was recorded last. The runs are looked for in --tracking-uri, else where the search
    had them, else in MLFLOW_TRACKING_URI or mlflow.db in the current folder. A database is served
    on this machine until Ctrl-C.
    """
    be_quick_and_quiet()
    folder = project_folder(directory)
    load_quietly("recdrop_tune.mlflow_store")
    search = search_in(folder) if folder else None
    store = tracking_uri(uri, search)
    search_id = search.search_id if search else None
    if store.startswith(("http:", "https:")):
        show(_on_server(store, search_id), no_browser)
        return
    _check_database(store)
    signal.signal(signal.SIGTERM, _end)
    if hasattr(signal, "SIGHUP"):  # The terminal has been closed.
        signal.signal(signal.SIGHUP, _end)
    # A shell that starts it in the background has it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Server(store, pick_port(port)) as server:
        _serve(server, store, search_id, no_browser)


def show(url: str, no_browser: bool) -> None:
    """Prints an address and opens it."""
    click.echo(plain(url))
    if not no_browser:
        webbrowser.open(url)


def _on_server(store: str, search_id: str | None) -> str:
    from recdrop_tune.credentials import hide_address
    from recdrop_tune.mlflow_store import prepare, reason

    try:
        prepare(store)
    except OSError as failure:
        raise click.ClickException(
            f"Nothing answers at {hide_address(store)}: {reason(failure, store)}"
        ) from None
    return page_of(store, search_id, hide_address(store))


def _serve(server: Server, store: str, search_id: str | None, no_browser: bool) -> None:
    from recdrop_tune.credentials import hide_address

    server.wait_until_up()
    show(page_of(server.uri, search_id, hide_address(store)), no_browser)
    click.echo("Ctrl-C ends it.")
    try:
        server.wait_until_down()
    except KeyboardInterrupt:
        click.echo()


def _check_database(store: str) -> None:
    from recdrop_tune.addresses import sqlite_path
    from recdrop_tune.credentials import hide_address

    path = sqlite_path(store)
    if path is not None and not path.is_file():
        raise click.ClickException(
            f"There is no database {path}. Call this in the folder of your search, or say with "
            "`--tracking-uri` where the runs are."
        )
    if path is None and not store.startswith(("postgresql", "mysql", "mssql")):
        raise click.ClickException(f"{hide_address(store)} cannot be served: open its own pages.")


def _end(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)
