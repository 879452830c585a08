"""The command `recdrop-tune`. Each command imports what it needs when it runs."""

from __future__ import annotations

from typing import Any

import click

from recdrop_tune.cli import doctor, run, searches, spaces, tracking
from recdrop_tune.errors import RecdropError, plain

__all__ = ["main"]


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


for _command in (
    doctor.doctor,
    run.confirm,
    run.run,
    searches.report,
    searches.searches,
    searches.status,
    searches.stop,
    spaces.spaces,
    tracking.sync,
    tracking.ui,
):
    main.add_command(_command)
