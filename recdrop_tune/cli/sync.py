"""`recdrop-tune sync`: brings MLflow up to date with a project folder."""

from __future__ import annotations

from pathlib import Path

import click

from recdrop_tune.backends import check_importable
from recdrop_tune.cli.store import be_quiet, project_folder
from recdrop_tune.errors import plain
from recdrop_tune.lazy import load_quietly


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
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
