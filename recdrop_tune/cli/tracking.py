"""The runs of a search in MLflow: `recdrop-tune sync` writes them, and `recdrop-tune ui` shows them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import click

from recdrop_tune.addresses import is_server, resolve_uri, sqlite_path
from recdrop_tune.backends import check_importable
from recdrop_tune.cli.searches import (
    be_quick_and_quiet,
    be_quiet,
    project_folder,
    search_argument,
    watched_search,
)
from recdrop_tune.errors import HIDDEN, RecdropError, hide, plain
from recdrop_tune.lazy import load_quietly

_START_SECONDS = 120
"""How long to wait for the first answer of MLflow's server."""


@click.command()
@search_argument
@click.option("--tracking-uri", "uri", help="The database or server to write to.")
def sync(directory: Path | None, uri: str | None) -> None:
    """Writes to MLflow what it lacks of a search: after an outage, or into an empty store.

    DIR is the project folder of the search; by default the newest one in recdrop_runs. The runs go to
    --tracking-uri, by default to where the search wrote them. Existing runs stay, and nothing is written
    twice, even if this command runs twice at once. DIR can be read-only.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    be_quiet()  # MLflow's client must not repeat a request that creates a run.
    folder = project_folder(directory)
    check_importable()
    load_quietly("recdrop_tune.mlflow_store")
    from recdrop_tune import sync as write

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    hidden = not console.is_terminal
    # A thousand trials take minutes.
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("Writing runs of trials", total=None)

        def show(there: int, total: int) -> None:
            bar.update(task, completed=there, total=total)

        report = write(folder, uri, progress=show)
    words = f"{folder}: {report.written} runs of trials written, {report.there} were there."
    click.echo(plain(f"{words} Experiment {report.experiment} at {report.tracking_uri}."))
    if how_to_open := report.ui_command or report.ui_url:
        click.echo(plain(how_to_open))


@click.command()
@search_argument
@click.option("--tracking-uri", "uri", help="Database or server with the runs.")
@click.option("--port", type=click.IntRange(1, 65535), help="By default 5000 or the next free one.")
@click.option("--no-browser", is_flag=True, help="Print the address without opening a browser.")
def ui(directory: Path | None, uri: str | None, port: int | None, no_browser: bool) -> None:
    """Opens MLflow's pages on the trials of a search, best first.

    DIR is the project folder of the search, by default the newest one in recdrop_runs. Its runs are looked up
    in --tracking-uri, by default where the search stored them. A database is served until Ctrl-C.
    """
    be_quick_and_quiet()
    search = watched_search(directory).records.search
    assert search is not None
    if uri is None and search.tracking_uri and HIDDEN not in search.tracking_uri:
        uri = search.tracking_uri
    address = resolve_uri(uri)
    if (path := sqlite_path(address)) is not None and not path.is_file():
        raise RecdropError(f"There is no database {path}. Give another `--tracking-uri`.")
    load_quietly("recdrop_tune.mlflow_store")
    with contextlib.ExitStack() as stack:
        server = None
        if not is_server(address):
            port = _free_port(port)
            server = stack.enter_context(_serve(address, port))
            address = f"http://127.0.0.1:{port}"
        page = page_of(address, search.search_id)
        click.echo(plain(page))
        if not no_browser:
            webbrowser.open(page)
        if server is not None:
            server.wait()
            raise RecdropError("MLflow's server has ended.")


def page_of(uri: str, search_id: str) -> str:
    """Returns the page of a search's trials on an MLflow server."""
    from mlflow.tracking import MlflowClient

    from recdrop_tune.mlflow_store import leaderboard_url, reason, view_tag

    client, condition = MlflowClient(uri), f"tags.`recdrop.search_id` = '{search_id}'"
    try:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(experiments, f"{condition} AND tags.`recdrop.kind` = 'search'")
        experiment = client.get_experiment(runs[0].info.experiment_id) if runs else None
    except Exception as failure:
        raise RecdropError(f"{hide(uri)}: {reason(failure, uri)}") from None
    if experiment is None:
        raise RecdropError(f"{hide(uri)} has no run of this search: `recdrop-tune sync` writes it.")
    # The search may have lacked the permission to store its view.
    has_view = view_tag(search_id) in experiment.tags
    ascending = not runs[0].data.params.get("direction", "min").startswith("max")
    address = hide(uri)
    page = leaderboard_url(address, experiment.experiment_id, search_id, ascending, has_view)
    return page or address


@contextlib.contextmanager
def _serve(database: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Serves MLflow's pages to this machine. The server ends with this command, however that ends."""
    environment = os.environ | {
        # Everybody can list the arguments of processes, and the address can contain a password.
        "MLFLOW_BACKEND_STORE_URI": database,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # Eight processes for language models.
        # Python and uvicorn would import a `yaml.py` that lies in the current folder.
        "PYTHONSAFEPATH": "1",
        "UVICORN_APP_DIR": sysconfig.get_path("purelib"),
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1"]
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP.
            signal.signal(getattr(signal, name), lambda number, _: sys.exit(128 + number))
    signal.signal(signal.SIGINT, lambda number, _: sys.exit(0))  # Ignored after `&` in a script.
    deadline = time.monotonic() + _START_SECONDS
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        try:
            while True:
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    output = hide(log.read().decode(errors="replace"))
                    raise RecdropError(f"MLflow's server did not start:\n{output}")
                with contextlib.suppress(OSError):
                    urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                time.sleep(0.2)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                if hasattr(os, "killpg"):
                    os.killpg(server.pid, signal.SIGKILL)
                else:  # Windows.
                    server.kill()
            server.wait()


def _free_port(port: int | None) -> int:
    for candidate in [port] if port else range(5000, 5100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", candidate)) != 0:
                return candidate
    raise RecdropError("The port is taken. Give another `--port`.")
