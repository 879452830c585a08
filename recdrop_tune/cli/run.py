"""`recdrop-tune run` and `recdrop-tune confirm`: run, or confirm, the search that a YAML file describes."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recdrop_tune.backends import check_importable, choose
from recdrop_tune.cli.searches import search_argument, watched_search
from recdrop_tune.errors import RecdropError
from recdrop_tune.lazy import load_quietly

if TYPE_CHECKING:  # Pydantic takes a third of a second to load.
    from recdrop_tune.cli.config import ConfigFile, RunFile


@click.command()
@click.argument("config", metavar="CONFIG.yaml", type=click.Path(path_type=Path))
@click.option("--max-trials", type=int, help="The most trials that are run.")
@click.option("--epochs", type=int, help="Epochs of one trial.")
@click.option("--seed", type=int, help="Seed of the search.")
@click.option("--backend", help="Keras's backend: tensorflow, jax or torch.")
@click.option("--directory", help="Project folder, relative to the current folder.")
@click.option(
    "--overwrite/--no-overwrite", default=None, help="Whether to delete the search in the folder."
)
@click.option("--workers", type=int, help="How many trials run at the same time (extra `ray`).")
@click.option("--verbose", type=int, help="0: silent, 1: a line per trial, 2: also per epoch.")
def run(config: Path, **options: Any) -> None:
    """Runs the search that a YAML file describes.

    It prints its progress and what it found. The file names functions of yours, as `module:function`. They
    are looked up in its folder first, and are run: treat the file like a script. Options replace what the
    file says. On Ctrl-C it prints the best so far and how to resume the search.
    """
    from recdrop_tune.cli.config import read_config

    arguments = {name: value for name, value in options.items() if value is not None}
    _search(read_config(config, arguments))


@click.command()
@search_argument
@click.option("--top", type=int, help="How many of the best configurations.")
@click.option("--seeds", type=int, help="How many times to train each in the first round.")
@click.option("--max-seeds", type=int, help="How many times at most.")
@click.option("--margin", type=float, help="The largest difference that does not matter.")
@click.option("--workers", type=int, help="How many trainings run at the same time (extra `ray`).")
def confirm(directory: Path | None, workers: int | None, **options: Any) -> None:
    """Trains the best configurations of a search again, each with fresh seeds.

    DIR is the project folder of a search by `recdrop-tune run`; by default the newest one in recdrop_runs.
    The YAML file of the search is read again, with its `confirm`; options replace parts of that.
    Trainings of an earlier confirmation are not repeated. The functions that the file names are run.
    """
    from recdrop_tune.cli.config import read_config
    from recdrop_tune.errors import HIDDEN
    from recdrop_tune.events import CONFIG_FILE

    project = watched_search(directory)
    search = project.records.search
    assert search is not None
    config = search.info.get(CONFIG_FILE)
    if not isinstance(config, str):
        raise RecdropError(
            f"The search in {project.folder} was started in Python: its folder does not say where its data "
            "and its model are. In Python, `tune` with the same arguments and `directory` gives its result, "
            "and `result.confirm(3)` confirms it."
        )
    recorded = {name: search.info.get(name) for name in ("epochs", "seed", "backend")}
    arguments = {"max_trials": search.max_trials, "workers": workers, **recorded}
    arguments = {name: value for name, value in arguments.items() if value is not None}
    place = {"directory": str(project.folder), "overwrite": False}
    file = read_config(Path(config), {**arguments, **place})
    settings = file.data.get("confirm") or {}
    settings = settings if isinstance(settings, dict) else {"top": settings}
    settings |= {name: value for name, value in options.items() if value is not None}
    data = {**file.data, "confirm": settings}
    named = data.get("tracking", True)
    if named not in (None, False) and search.tracking_uri and HIDDEN not in search.tracking_uri:
        named = {"experiment": named} if isinstance(named, str) else named
        data["tracking"] = {"uri": search.tracking_uri, **({} if named is True else named)}
    _search(replace(file, data=data))


def _search(file: ConfigFile) -> None:
    """Runs the search of a file, and prints what it found."""
    checked, space = file.checked()
    try:
        choose(checked.backend) if checked.backend else check_importable()
    except RecdropError as error:
        raise RecdropError(file.explained(error)) from None
    load_quietly("recdrop_tune.tuner")  # Keras is slow to load, and needed from here on.
    from recdrop_tune.events import STOPPED
    from recdrop_tune.search import SearchConfig, names_of, run_search

    # Modules next to the file come first, in child processes too. Only now: a `statistics.py` there would
    # replace Python's for the imports above.
    place = str(file.path.parent.resolve())
    sys.path.insert(0, place)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH")]))
    arguments = {name: getattr(checked, name) for name in names_of(SearchConfig)}
    try:
        data = _data(checked)
        train, validation = data.pop("train"), data.pop("validation", None)
        settings = SearchConfig(**arguments | {"space": space} | data)
        result = run_search(settings, train, validation, file.path)
    except RecdropError as error:
        raise RecdropError(file.explained(error)) from None
    except KeyboardInterrupt as interrupt:
        for note in getattr(interrupt, "__notes__", ()):  # The best so far, and how to resume.
            click.echo(note, err=True)
        raise SystemExit(130) from None  # As shells report Ctrl-C.
    click.echo(result.summary())
    early = result.records.no_more
    if early is not None and early.reason == STOPPED:
        keep = " and `--no-overwrite`" if checked.overwrite else ""
        click.echo(f"To resume: run it again with `--directory {result.directory}`{keep}.")
    if unsaved := result.tracking and result.tracking.unsaved:
        raise RecdropError(
            f"The result was not saved: {unsaved}. The trials are kept. Run the search again "
            "with `--directory` to save it."
        )


def _data(config: RunFile) -> dict[str, Any]:
    """Returns the arguments of `tune` that have the data, and functions that each process calls."""
    from recdrop_tune.search import UserCodeError, call

    if isinstance(config.data, dict):
        arguments: dict[str, Any] = {str(name): value for name, value in config.data.items()}
    else:
        parts = call(config.data)
        several = isinstance(parts, tuple | list) and len(parts) in (2, 3)
        if not several or all(hasattr(part, "shape") for part in parts):
            kinds = [type(part).__name__ for part in parts] if several else type(parts).__name__
            raise UserCodeError(
                f"`{config.data}` has to return (train, validation) or (train, validation, test), each of "
                f"them (x, y) or a dataset. It returned {kinds}. Without validation data, write "
                "`data: {train: ...}`."
            )
        arguments = dict(zip(("train", "validation", "test"), parts, strict=False))
    test = arguments.pop("test", None)
    if config.confirm and test is not None:
        arguments["confirm"] = replace(config.confirm, test=test)
    return arguments
