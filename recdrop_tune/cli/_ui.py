"""`recdrop-tune ui`: MLflow's pages, opened on the trials of a search."""

from __future__ import annotations

import signal
import webbrowser
from pathlib import Path
from typing import NoReturn

import click

from recdrop_tune.cli._pages import page_of
from recdrop_tune.cli._quiet import load_quietly
from recdrop_tune.cli._server import Server, pick_port
from recdrop_tune.cli._store import be_quick_and_quiet, project_folder, search_in, tracking_uri
from recdrop_tune.errors import plain


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
    load_quietly("recdrop_tune.tracking")
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
    from recdrop_tune.tracking._stores import prepare, reason

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
    from recdrop_tune.credentials import hide_address
    from recdrop_tune.tracking._uris import sqlite_path

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
