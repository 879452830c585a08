"""The group of commands."""

from __future__ import annotations

import click

from recdrop_tune.cli._doctor import doctor
from recdrop_tune.cli._report import report
from recdrop_tune.cli._run import run
from recdrop_tune.cli._spaces import spaces
from recdrop_tune.cli._sync import sync
from recdrop_tune.cli._ui import ui


@click.group()
@click.version_option(package_name="recdrop-tune")
def main() -> None:
    """Finds which recurrent dropout, where, and how much."""


main.add_command(doctor)
main.add_command(report)
main.add_command(run)
main.add_command(spaces)
main.add_command(sync)
main.add_command(ui)
