"""The commands `list`, `report`, `status` and `stop`, and where commands find a search."""

from __future__ import annotations

import json
import os
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recdrop_tune.backends import check_importable
from recdrop_tune.errors import InvalidArgumentError, ProjectError, RecdropError, plain
from recdrop_tune.files import JOURNAL, RUNS, ask_to_stop
from recdrop_tune.lazy import load_quietly
from recdrop_tune.standing import format_number

if TYPE_CHECKING:
    import pandas as pd

    from recdrop_tune.terminal import WatchedSearch

search_argument = click.argument(
    "directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path)
)
"""The project folder of a search; see `project_folder`."""


def project_folder(directory: Path | None) -> Path:
    """Returns the folder of a search: `directory`, or by default the newest one in `recdrop_runs`."""
    if directory is None:
        journals = Path(RUNS).glob(f"*/{JOURNAL}")
        newest = max(journals, key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            raise RecdropError("There is no search in recdrop_runs. Give its folder.")
        return newest.parent
    if not directory.is_dir():
        raise RecdropError(f"There is no folder {directory}.")
    if not (directory / JOURNAL).exists():
        raise RecdropError(
            f"The folder {directory} holds no search of recdrop-tune: it has no {JOURNAL}."
        )
    return directory


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


def be_quick_and_quiet() -> None:
    """Makes MLflow's client give up within seconds instead of minutes; see also `be_quiet`."""
    be_quiet()
    for name, value in (("MAX_RETRIES", "1"), ("BACKOFF_FACTOR", "1"), ("TIMEOUT", "20")):
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)


def be_quiet() -> None:
    """Silences TensorFlow's log, and keeps requests to this machine away from a proxy."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))


@click.command("list")
@click.argument("directories", metavar="[DIR]...", nargs=-1, type=click.Path(path_type=Path))
def searches(directories: tuple[Path, ...]) -> None:
    """Lists searches, for each objective the best first.

    DIR is a project folder, or a folder that contains some; by default recdrop_runs. Loads no TensorFlow.
    Gains are those of the best trial with dropout over its twin, the same settings without dropout.
    """
    from recdrop_tune.comparison import compare

    try:
        frame = compare(*directories)
    except OSError as error:
        raise RecdropError(str(error)) from None
    if frame.empty:
        raise RecdropError(
            "There is no search; `recdrop-tune report` shows a comparison of models."
        )
    # A stranger's folder cannot print control sequences or further lines.
    click.echo(plain(_table(frame)))


def _table(frame: pd.DataFrame) -> str:
    """Writes the searches without empty columns. The longest column comes last."""
    states = ["complete", "pruned", "failed"]
    table = frame.assign(
        trials=[_format_trials(*row) for row in frame[["trials", *states]].itertuples(index=False)],
        seconds=[_format_duration(seconds) for seconds in frame["seconds"]],
        began=frame["began"].dt.strftime("%Y-%m-%d %H:%M"),
    ).rename(columns={"seconds": "time"})
    table = table.drop(columns=states).dropna(axis="columns", how="all")
    table = table[sorted(table, key=lambda name: name == "data")]
    cells = table.astype(object).where(table.notna(), "-").map(_format_cell)
    return str(cells.to_string(index=False))


def _format_trials(trials: int, complete: int, pruned: int, failed: int) -> str:
    """Writes how many trials there are, and how many are not complete: `30 (6 pruned, 2 failed)`."""
    others = {"pruned": pruned, "failed": failed, "unfinished": trials - complete - pruned - failed}
    words = ", ".join(f"{number} {state}" for state, number in others.items() if number)
    return f"{trials} ({words})" if words else str(trials)


def _format_duration(seconds: float) -> str:
    if round(seconds) < 60:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _format_cell(value: object) -> str:
    return format_number(value) if isinstance(value, float) else " ".join(str(value).split())


@click.command()
@search_argument
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
    search = watched_search(directory)
    check_importable()
    load_quietly("recdrop_tune.results")
    from recdrop_tune.results import ModelComparison, TuneResult

    try:
        kind = ModelComparison if search.records.models else TuneResult
        result = kind.load(search.folder)
        try:
            page = result.report(output or search.folder / "report.html")
        except InvalidArgumentError as error:
            raise error.renamed("--output") from None
        summary = result.summary()
    except RecdropError:
        raise
    except Exception as error:  # A damaged file can fail in any way.
        raise ProjectError(
            f"The search in {search.folder} cannot be read ({type(error).__name__}: {error}): its files are "
            "damaged, or another program's."
        ) from error
    if search.is_running:
        click.echo("The search is still running.")
    click.echo(plain(f"{summary}\nReport: {page}"))
    if opened:
        webbrowser.open(page.resolve().as_uri())


@click.command()
@search_argument
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
@search_argument
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
