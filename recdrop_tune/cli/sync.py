"""`recdrop-tune sync`: brings MLflow up to date with a project folder."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import click

from recdrop_tune.backends import check_importable
from recdrop_tune.cli.store import be_quiet, load_quietly, project_folder
from recdrop_tune.errors import RecdropError, plain


class _Bar:
    """Shows on a terminal how many runs are there: of a thousand trials it takes minutes."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, Progress

        console = Console(stderr=True)
        columns = (*Progress.get_default_columns(), MofNCompleteColumn())
        hidden = not console.is_terminal
        self._bar = Progress(*columns, console=console, transient=True, disable=hidden)
        self._task = self._bar.add_task("Writing runs of trials", total=None)

    def show(self, there: int, total: int) -> None:
        """Takes the numbers that `recdrop_tune.sync` tells."""
        self._bar.update(self._task, completed=there, total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--tracking-uri", "uri", help="Database or server that is to have the runs.")
def sync(directory: Path | None, uri: str | None) -> None:
    """Writes what MLflow lacks of a search: after an outage, or into an empty store.

    DIR is the project folder of the search; left out, the newest one in recdrop_runs. The runs go to
    --tracking-uri, else to where the search had them. What is there stays, and nothing is written
    twice, also if two of this command run at once. DIR may be read-only.
    """
    be_quiet()  # A request that creates a run must not be sent twice by MLflow's client itself.
    folder = project_folder(directory)
    try:
        check_importable()
        load_quietly("recdrop_tune.mlflow_store")
        from recdrop_tune import sync as write

        with _Bar() as bar:
            done = write(folder, uri, progress=bar.show)
    except RecdropError as error:
        raise click.ClickException(str(error)) from None
    said = (
        f"{folder}: {done.written} runs of trials written, {done.there} were there. Experiment "
        f"{done.experiment} at {done.tracking_uri}."
    )
    click.echo(plain(said))
    # Nothing serves the page of a store of one's own before the command was called.
    if shown := done.ui_command or done.ui_url:
        click.echo(plain(shown))
