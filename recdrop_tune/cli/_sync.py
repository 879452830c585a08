"""`recdrop-tune sync`: brings MLflow up to date with a project folder."""

from __future__ import annotations

from pathlib import Path

import click

from recdrop_tune.cli._quiet import load_quietly
from recdrop_tune.cli._store import be_quick_and_quiet, project_folder
from recdrop_tune.errors import plain


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--tracking-uri", "uri", help="Database or server that is to have the runs.")
def sync(directory: Path | None, uri: str | None) -> None:
    """Writes what MLflow lacks of a search: after an outage, or into an empty store.

    DIR is the project folder of the search; left out, the newest one in recdrop_runs. The runs go to
    --tracking-uri, else to where the search had them. What is there stays, and nothing is written
    twice.
    """
    be_quick_and_quiet()
    folder = project_folder(directory)
    if folder is None:
        raise click.ClickException("There is no search in recdrop_runs. Give its folder.")
    load_quietly("recdrop_tune.tracking")
    from recdrop_tune import sync as write
    from recdrop_tune.errors import RecdropError

    try:
        done = write(folder, uri)
    except RecdropError as error:
        raise click.ClickException(str(error)) from None
    said = (
        f"{folder}: {done.written} runs of trials written, {done.there} were there. Experiment "
        f"{done.experiment} at {done.tracking_uri}."
    )
    click.echo(plain(said))
    for line in (done.ui_command, done.ui_url):
        if line is not None:
            click.echo(plain(line))
