"""`recdrop-tune report`: the page about a search, from its project folder."""

from __future__ import annotations

import webbrowser
from contextlib import suppress
from pathlib import Path

import click

from recdrop_tune.backends import check_importable
from recdrop_tune.cli.store import be_quick_and_quiet, project_folder
from recdrop_tune.errors import InvalidArgumentError, ProjectError, RecdropError, plain
from recdrop_tune.files import JOURNAL
from recdrop_tune.journal import Journal
from recdrop_tune.lazy import load_quietly
from recdrop_tune.records import Records


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The HTML file; by default report.html in DIR. It replaces an existing file.",
)
@click.option("--open", "opened", is_flag=True, help="Open the page in a browser.")
def report(directory: Path | None, output: Path | None, opened: bool) -> None:
    """Writes the report of a search, and prints its summary.

    DIR is the project folder of the search; by default the newest one in recdrop_runs. The search can have
    ended, have been interrupted, or still be running. Its script is not needed, and no code in the folder
    runs.
    """
    be_quick_and_quiet()
    folder = project_folder(directory)
    check_importable()
    load_quietly("recdrop_tune.results")
    from recdrop_tune.results import ModelComparison, TuneResult

    try:
        models = Records(Journal(folder / JOURNAL).read(epochs=False)).models
        result = (ModelComparison if models else TuneResult).load(folder)
        try:
            page = result.report(output or folder / "report.html")
        except InvalidArgumentError as error:
            raise error.renamed("--output") from None
        summary = result.summary()
    except RecdropError:
        raise
    except Exception as error:  # A damaged file can fail in any way.
        raise ProjectError(
            f"The search in {folder} cannot be read ({type(error).__name__}: {error}): its files are "
            "damaged, or another program's."
        ) from error
    with suppress(OSError):  # A read-only folder.
        if Journal(folder / JOURNAL).is_being_written():
            click.echo("The search is still running.")
    click.echo(plain(f"{summary}\nReport: {page}"))
    if opened:
        webbrowser.open(page.resolve().as_uri())
