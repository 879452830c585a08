"""`recdrop-tune status` and `stop`: show how a search stands, or end it, from another process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recdrop_tune.cli.store import project_folder
from recdrop_tune.errors import ProjectError, RecdropError, plain
from recdrop_tune.files import JOURNAL, ask_to_stop

if TYPE_CHECKING:
    from recdrop_tune.terminal import WatchedSearch


def watched_search(directory: Path | None) -> WatchedSearch:
    """Returns the search in a folder, by default the newest one in recdrop_runs."""
    from recdrop_tune.terminal import WatchedSearch

    folder = project_folder(directory)
    try:
        project = WatchedSearch(folder)
    except (OSError, ProjectError) as error:
        raise RecdropError(f"{folder / JOURNAL} cannot be read: {error}") from None
    if project.records.search is None:
        raise RecdropError(f"No search has been started in {folder}.")
    return project


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def status(directory: Path | None, as_json: bool) -> None:
    """Prints how a search stands: its trials, the best one, the time left, and the running trials.

    DIR is the project folder of the search; by default the newest one in recdrop_runs. The command reads
    only the journal in it and writes nothing, so the folder can belong to somebody else.
    """
    project = watched_search(directory)
    if as_json:
        click.echo(json.dumps(project.to_dict(), indent=2, allow_nan=False))
    else:
        for line in project.lines():
            # A name with a line break would forge a line.
            click.echo(plain(line).replace("\n", " "))


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
def stop(directory: Path | None) -> None:
    """Asks a search to end after the running trials.

    DIR is the project folder of the search; by default the newest one in recdrop_runs. The search can run in
    another shell, or on another machine that has the same folder. It writes its result and ends as after its
    last trial, without a confirmation; `run` or `tune` can resume it.
    """
    project = watched_search(directory)
    if not (project.is_running or project.may_run_elsewhere or project.state == "unknown"):
        text = f"There is no search to stop in {project.folder}: it {project.state_words}."
        raise RecdropError(text.replace("\n", " "))
    search, numbers = project.records.search, [str(each.number) for each in project.records.running]
    assert search is not None
    try:
        ask_to_stop(project.folder)
    except (OSError, RecdropError) as error:
        raise RecdropError(f"The search cannot be asked to end: {error}") from None
    when = "before its next trial"
    if numbers:
        when = f"after trial{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
    elif project.records.confirming is not None:
        from recdrop_tune.terminal import wording

        when = f"after the running training{wording(project.records).phase}"
    words = f"the search was asked to end {when}."
    if not project.is_running:
        words += f" Whether it is still running on {search.host} cannot be seen from here."
    click.echo(plain(f"{project.folder}: {words}").replace("\n", " "))
