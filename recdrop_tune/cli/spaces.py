"""`recdrop-tune spaces`: lists presets, prints search spaces and checks them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from recdrop_tune.spaces import SearchSpace


@click.group()
def spaces() -> None:
    """Lists, shows and checks search spaces, without loading TensorFlow."""


@spaces.command("list")
def list_presets() -> None:
    """Lists the presets and their sizes."""
    from recdrop_tune.spaces import SearchSpace

    names = SearchSpace.presets()
    width = max(map(len, names))
    for name in names:
        click.echo(f"{name:<{width}}  {format_size(SearchSpace.load(name))}")


@spaces.command()
@click.argument("space", metavar="NAME_OR_FILE")
def show(space: str) -> None:
    """Prints a search space as YAML.

    NAME_OR_FILE is a preset, or a file that ends in .yaml or .yml. Its size is a comment. The output is a
    search space again: write it to a file to start your own.
    """
    from recdrop_tune.spaces import SearchSpace

    read = SearchSpace.load(space)
    click.echo(f"# {format_size(read)}")
    if names := read.searched():
        click.echo(f"# searched: {', '.join(names)}")
    click.echo(read.to_yaml(), nl=False)


@spaces.command()
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.pass_context
def validate(context: click.Context, files: tuple[Path, ...]) -> None:
    """Checks search spaces.

    Prints a line for each valid FILE, and all problems of the others. The exit code is 1 if there are any.
    """
    from recdrop_tune.errors import SearchSpaceError
    from recdrop_tune.spaces import SearchSpace

    failed = False
    for file in files:
        try:
            click.echo(f"{file}: valid, {format_size(SearchSpace.load(file))}")
        except SearchSpaceError as error:
            failed = True
            click.echo(f"{file}: not valid\n{error}", err=True)
    if failed:
        context.exit(1)


def format_size(space: SearchSpace) -> str:
    """Describes the size of a search space: `3 configurations of 2 hyperparameters`."""
    names, size = len(space.searched()), space.grid_size()
    number = f"{names} hyperparameter{'' if names == 1 else 's'}"
    if size is None:
        return f"{number}, a continuum (a range without a step)"
    return f"{size:,} configuration{'' if size == 1 else 's'} of {number}"
