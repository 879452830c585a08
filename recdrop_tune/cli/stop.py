"""`recdrop-tune stop`: ends a search that runs in another process."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recdrop_tune.cli.watch import watched
from recdrop_tune.errors import RecdropError, plain
from recdrop_tune.files import JOURNAL
from recdrop_tune.stopping import ask_to_stop

if TYPE_CHECKING:
    from recdrop_tune.terminal import Watched


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--now", is_flag=True, help="Interrupt the running trials, as Ctrl-C does.")
def stop(directory: Path | None, now: bool) -> None:
    """Asks a search to end after the running trials.

    DIR is the project folder of the search; by default the newest one in recdrop_runs. The search can run in
    another shell, or on another machine that has the same folder. It writes its result and ends as after its
    last trial, without a confirmation; `run` or `tune` can resume it. With --now the running trials are
    interrupted, and run again when the search resumes.
    """
    found = watched(directory)
    if not (found.is_running or found.may_run_elsewhere or found.state == "unknown"):
        raise click.ClickException(
            f"There is no search to stop in {found.folder}: it {found.state_words}.".replace(
                "\n", " "
            )
        )
    try:
        # With --now too, because a signal does not reach a search that runs in a thread.
        ask_to_stop(found.folder, now)
        if now and _interrupt(found):
            assert found.records.search is not None
            words = f"Ctrl-C was sent to process {found.records.search.pid}."
        else:
            numbers = ", ".join(str(record.number) for record in found.records.running)
            when = "before its next trial"
            if now:
                when = "with its next epoch"
            elif numbers:
                when = f"after trial{'s' if ',' in numbers else ''} {numbers}"
            elif found.records.confirming is not None:
                when = "after the running training of the confirmation"
            words = f"the search was asked to end {when}."
            if not found.is_running:
                host = found.records.search.host if found.records.search else None
                words += f" Whether it is still running on {host} cannot be seen from here."
    except (OSError, RecdropError) as error:
        raise click.ClickException(f"The search cannot be asked to end: {error}") from None
    click.echo(plain(f"{found.folder}: {words}").replace("\n", " "))


def _interrupt(found: Watched) -> bool:
    """Sends Ctrl-C to the process of a search; returns whether that is possible.

    A stranger's journal, or one from a container, can name any process, so the process must have the journal
    open. It must not ignore Ctrl-C either, as a process does after `&` in a script. Only Linux shows both.
    """
    search = found.records.search
    if search is None or search.pid is None or not (found.is_here and found.is_running):
        return False
    try:
        journal = os.stat(found.folder / JOURNAL)
        opened = (os.stat(path) for path in Path(f"/proc/{search.pid}/fd").iterdir())
        searches = any(os.path.samestat(each, journal) for each in opened)
        text = Path(f"/proc/{search.pid}/status").read_text()
        ignored = re.search(r"^SigIgn:\s*([0-9a-f]+)$", text, re.MULTILINE)
        if not searches or ignored is None or int(ignored[1], 16) >> (signal.SIGINT - 1) & 1:
            return False
        os.kill(search.pid, signal.SIGINT)
    except OSError:  # Another user's process, or one that has just ended.
        return False
    return True
