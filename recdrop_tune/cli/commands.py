"""The group of commands."""

from __future__ import annotations

from typing import Any

import click

from recdrop_tune.cli.doctor import doctor
from recdrop_tune.cli.report import report
from recdrop_tune.cli.run import confirm, run
from recdrop_tune.cli.searches import searches
from recdrop_tune.cli.spaces import spaces
from recdrop_tune.cli.sync import sync
from recdrop_tune.cli.ui import ui
from recdrop_tune.cli.watch import status, stop
from recdrop_tune.errors import RecdropError, plain


class _Commands(click.Group):
    """Commands that end with the message of an error of this package, which can quote a stranger's files."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; see `click.Group.invoke`."""
        try:
            return super().invoke(ctx)
        except RecdropError as error:
            raise click.ClickException(plain(str(error))) from error


@click.group(cls=_Commands)
@click.version_option(package_name="recdrop-tune")
def main() -> None:
    """Finds which recurrent dropout, where, and how much."""


for _command in (confirm, doctor, report, run, searches, spaces, status, stop, sync, ui):
    main.add_command(_command)
