"""The group of commands."""

from __future__ import annotations

from typing import Any

import click

from recdrop_tune.cli.doctor import doctor
from recdrop_tune.cli.report import report
from recdrop_tune.cli.run import confirm, run
from recdrop_tune.cli.searches import searches
from recdrop_tune.cli.spaces import spaces
from recdrop_tune.cli.stop import stop
from recdrop_tune.cli.sync import sync
from recdrop_tune.cli.ui import ui
from recdrop_tune.cli.watch import status, top
from recdrop_tune.errors import plain


class _Commands(click.Group):
    """Commands whose errors can quote a stranger's files."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; see `click.Group.invoke`."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            # A subclass quotes the command line, and shows the usage.
            if type(error) is not click.ClickException:
                raise
            raise click.ClickException(plain(error.message)) from error


@click.group(cls=_Commands)
@click.version_option(package_name="recdrop-tune")
def main() -> None:
    """Finds which recurrent dropout, where, and how much."""


for _command in (confirm, doctor, report, run, searches, spaces, status, stop, sync, top, ui):
    main.add_command(_command)
