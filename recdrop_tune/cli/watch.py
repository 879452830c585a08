"""`recdrop-tune status` and `recdrop-tune top`: how a search stands, now or until it ends."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recdrop_tune.cli.store import project_folder
from recdrop_tune.errors import ProjectError, plain
from recdrop_tune.files import JOURNAL

if TYPE_CHECKING:
    from recdrop_tune.terminal import Watched

_SECONDS = 0.5
"""Seconds between two looks at the journal."""


def watched(directory: Path | None) -> Watched:
    """Returns the search in a folder, by default the newest one in recdrop_runs.

    Raises:
        click.ClickException: There is no search, or its journal cannot be read.
    """
    from recdrop_tune.terminal import Watched

    folder = project_folder(directory)
    found = Watched(folder)
    try:
        found.look()
    except (OSError, ProjectError) as error:
        raise click.ClickException(f"{folder / JOURNAL} cannot be read: {error}") from None
    if found.records.search is None:
        raise click.ClickException(f"No search has been started in {folder}.")
    return found


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def status(directory: Path | None, as_json: bool) -> None:
    """Prints how a search stands: its trials, the best one, the time left, and the running trials.

    DIR is the project folder of the search; by default the newest one in recdrop_runs. The command reads
    only the journal in it and writes nothing, so the folder can belong to somebody else.
    """
    found = watched(directory)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        _print(found)


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
def top(directory: Path | None) -> None:
    """Shows a search that runs in another process, until it ends or you press Ctrl-C.

    DIR is the project folder of the search; by default the newest one in recdrop_runs. The display is the one
    that the search shows on its own terminal. Ctrl-C ends only the display.
    """
    from recdrop_tune.terminal import Progress, Terminal, live_display

    found = watched(directory)
    if found.is_running:
        console, history = Terminal(highlight=False), found.history
        try:
            with live_display(console, history, found.workers) as display:
                lines = Progress(console, history=history, workers=found.workers)
                while found.is_running:
                    time.sleep(_SECONDS)
                    for event in found.look():
                        lines.on_event(event)
                        if display is not None:
                            display.on_event(event)
        except KeyboardInterrupt:
            return
    _print(found)


def _print(found: Watched) -> None:
    for line in found.lines():
        click.echo(plain(line).replace("\n", " "))  # A name with a line break would forge a line.
