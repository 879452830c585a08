"""`recdrop-tune run`: a search that a YAML file describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from recdrop_tune.cli._quiet import load_quietly

_CTRL_C = 130


@click.command()
@click.argument("config", metavar="CONFIG.yaml", type=click.Path(path_type=Path))
@click.option("--max-trials", type=int, help="The most trials that are run.")
@click.option("--epochs", type=int, help="Epochs of one trial.")
@click.option("--seed", type=int, help="Seed of the search.")
@click.option("--directory", help="Project folder, relative to the current folder.")
@click.option(
    "--overwrite/--no-overwrite", default=None, help="Whether to delete what search is there."
)
@click.option("--workers", type=int, help="How many trials run at the same time (extra `ray`).")
@click.option("--verbose", type=int, help="0: silent, 1: a line a trial, 2: a line an epoch too.")
def run(config: Path, **options: Any) -> None:
    """Runs the search that a YAML file describes.

    It prints its progress and what it found. The file names functions of yours, as `module:function`,
    which are looked for in its folder first, and are run: treat it like a script. An option goes before
    what the file says. Broken off, the search goes on with `--directory` and the folder that was printed.
    """
    try:
        summary, unsaved = _found(config, {k: v for k, v in options.items() if v is not None})
    except KeyboardInterrupt as interrupt:
        for note in getattr(interrupt, "__notes__", ()):  # How to go on, by `tune`.
            said = "`--directory`, `--no-overwrite`" if "overwrite" in note else "`--directory`"
            click.echo(f"{note} (as {said}).", err=True)
        raise SystemExit(_CTRL_C) from None
    click.echo(summary)
    if unsaved is not None:
        raise click.ClickException(
            f"The result was not saved: {unsaved}. The trials are kept: mend the cause, and run the search "
            "again with `--directory` to have it saved."
        )


def _found(path: Path, options: dict[str, Any]) -> tuple[str, str | None]:
    """Runs the search; returns its summary, and why the result was not saved."""
    from recdrop_tune.cli._config_file import read_config
    from recdrop_tune.cli._references import UserCodeError
    from recdrop_tune.errors import RecdropError

    file = read_config(path, options)
    space: dict[str, Any] = (
        {"space": file.space()} if "space" in file.config.model_fields_set else {}
    )
    load_quietly("recdrop_tune.facade")
    from recdrop_tune import tune
    from recdrop_tune.cli._run_arguments import arguments

    try:
        result = tune(**arguments(file), **space)
    except UserCodeError as error:
        raise click.ClickException(str(error)) from None
    except RecdropError as error:
        raise click.ClickException(file.explained(str(error))) from None
    return result.summary(), result.tracking.unsaved
