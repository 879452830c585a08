"""`recdrop-tune stop`: ends a search that runs in another process."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recdrop_tune.cli.watch import watched
from recdrop_tune.errors import RecdropError, plain
from recdrop_tune.files import JOURNAL

if TYPE_CHECKING:
    from recdrop_tune.terminal import Watched


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--now", is_flag=True, help="Break off the trials that are running, as Ctrl-C does.")
def stop(directory: Path | None, now: bool) -> None:
    """Asks a search to end after the trials that are running.

    DIR is the project folder of the search; left out, the newest one in recdrop_runs. The search may run in
    another shell, or on another machine that has the same folder. It writes its result and ends as it would
    after its last trial, without a confirmation; `run` or `tune` goes on with it later. With --now the
    trials that are running are broken off, and run again when the search goes on.
    """
    found = watched(directory)
    if not (found.is_running or found.may_run_elsewhere or found.state == "unknown"):
        raise click.ClickException(
            f"There is no search to stop in {found.folder}: it {found.state_words}."
        )
    try:
        said = _end(found) if now else _ask(found)
    except (OSError, RecdropError) as error:
        raise click.ClickException(f"The search cannot be asked to end: {error}") from None
    click.echo(plain(f"{found.folder}: {said}"))


def _ask(found: Watched) -> str:
    from recdrop_tune.stopping import ask_to_stop

    ask_to_stop(found.folder)
    return f"the search was asked to end {_when(found)}.{_caution(found)}"


def _when(found: Watched) -> str:
    numbers = [str(record.number + 1) for record in found.records.running]
    if numbers:
        return f"after trial{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
    if found.records.confirming is not None:
        return "after the training of the confirmation that is running"
    return "before its next trial"


def _end(found: Watched) -> str:
    """Ends it by a signal, if its process is here and heeds it; else it finds the request."""
    from recdrop_tune.stopping import ask_to_stop

    # Also before a signal, which a search in another thread than the main one does not get.
    ask_to_stop(found.folder, now=True)
    pid = found.records.search.pid if found.records.search else None
    if pid is not None and found.is_here and found.is_running and _heeds_ctrl_c(pid, found.folder):
        with suppress(OSError):  # It is gone, or another user's.
            os.kill(pid, signal.SIGINT)
            return f"Ctrl-C was sent to process {pid}."
    return f"the search was asked to end with its next epoch.{_caution(found)}"


def _caution(found: Watched) -> str:
    if found.is_running:
        return ""
    host = found.records.search.host if found.records.search else None
    return f" Whether it is still running on {host} cannot be seen from here."


_IGNORED = re.compile(r"^SigIgn:\s*([0-9a-f]+)$", re.MULTILINE)


def _heeds_ctrl_c(pid: int, folder: Path) -> bool:
    """Says whether it is this process that searches, and does not ignore Ctrl-C, as after `&` in a script.

    A journal may be a stranger's, or from a container in which processes have other numbers: so the process
    has to have the journal open. That can be seen on Linux alone; elsewhere the search finds the request.
    """
    try:
        journal = os.stat(folder / JOURNAL)
        opened = (os.stat(path) for path in Path(f"/proc/{pid}/fd").iterdir())
        searches = any(os.path.samestat(each, journal) for each in opened)
        found = _IGNORED.search(Path(f"/proc/{pid}/status").read_text())
    except OSError:  # It is another user's, or closes a file just now.
        return False
    return searches and found is not None and not int(found[1], 16) >> (signal.SIGINT - 1) & 1
