"""`recdrop-tune report`: the page about a search, from its project folder alone."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Any

import click

from recdrop_tune.backends import check_importable
from recdrop_tune.cli.store import be_quick_and_quiet, load_quietly, project_folder
from recdrop_tune.errors import RecdropError, plain
from recdrop_tune.files import JOURNAL


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The HTML file; by default report.html in DIR. One that is there is replaced.",
)
@click.option("--open", "opened", is_flag=True, help="Open the page in a browser.")
def report(directory: Path | None, output: Path | None, opened: bool) -> None:
    """Writes the report of a search, and prints its summary.

    DIR is the project folder of the search; left out, the newest one in recdrop_runs. The search may have
    ended, been broken off, or be running: then this is its state now. The script that ran it is not
    needed, and nothing in the folder is run.
    """
    be_quick_and_quiet()
    folder = project_folder(directory)
    result = _loaded(folder)
    from recdrop_tune.errors import InvalidArgumentError

    try:
        page = result.report(output or folder / "report.html")
        lines = _summary(result, folder)
    except InvalidArgumentError as error:
        raise click.ClickException(str(error.renamed("--output"))) from None
    except Exception as error:
        raise click.ClickException(_unreadable(folder, error)) from error
    for line in (*lines, f"Report: {page}"):
        click.echo(plain(line))
    if opened:
        webbrowser.open(page.resolve().as_uri())


def _loaded(folder: Path) -> Any:
    try:
        check_importable()
        load_quietly("recdrop_tune.results")
        from recdrop_tune.results import TuneResult

        return TuneResult.load(folder)
    except RecdropError as error:
        raise click.ClickException(str(error)) from None
    except Exception as error:  # Half of a file can be wrong in any way.
        raise click.ClickException(_unreadable(folder, error)) from error


def _unreadable(folder: Path, error: Exception) -> str:
    return (
        f"The search in {folder} cannot be read ({type(error).__name__}: {error}): its files are damaged, or "
        "another program's."
    )


def _summary(result: Any, folder: Path) -> list[str]:
    """Says what was found so far."""
    from recdrop_tune.journal import Journal

    lines = []
    try:
        running = Journal(folder / JOURNAL).is_being_written()
    except OSError:  # A folder that may only be read.
        running = False
    if running:
        lines.append("The search is running: this is its state now.")
    return [*lines, result.summary()]
