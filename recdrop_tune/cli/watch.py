"""`recdrop-tune status`, `top` and `stop`: shows how a search stands, or ends it, from another process."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recdrop_tune.cli.store import project_folder
from recdrop_tune.errors import ProjectError, RecdropError, plain
from recdrop_tune.files import JOURNAL
from recdrop_tune.stopping import ask_to_stop

if TYPE_CHECKING:
    from recdrop_tune.terminal import Watched

_SECONDS = 0.5
"""Seconds between two looks at the journal."""


def watched(directory: Path | None) -> Watched:
    """Returns the search in a folder, by default the newest one in recdrop_runs."""
    from recdrop_tune.terminal import Watched

    folder = project_folder(directory)
    found = Watched(folder)
    try:
        found.look()
    except (OSError, ProjectError) as error:
        raise RecdropError(f"{folder / JOURNAL} cannot be read: {error}") from None
    if found.records.search is None:
        raise RecdropError(f"No search has been started in {folder}.")
    return found


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def status(directory: Path | None, as_json: bool) -> None:
    """Prints how a search stands: its trials, the best one, the time left, and the running trials.

    DIR is the project folder of the search; by default the newest one in recdrop_runs. The command reads
    only the journal in it and writes nothing, so the folder can belong to somebody else.
    """
    found = watched(directory)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        _print(found)


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
def top(directory: Path | None) -> None:
    """Shows a search that runs in another process, until it ends or you press Ctrl-C.

    DIR is the project folder of the search; by default the newest one in recdrop_runs. The display is the one
    that the search shows on its own terminal. Ctrl-C ends only the display.
    """
    from recdrop_tune.terminal import Progress, Terminal, live_display

    found = watched(directory)
    if found.is_running:
        console, history = Terminal(highlight=False), found.history
        try:
            with live_display(console, history, found.workers) as display:
                lines = Progress(console, history=history, workers=found.workers)
                while found.is_running:
                    time.sleep(_SECONDS)
                    for event in found.look():
                        lines.on_event(event)
                        if display is not None:
                            display.on_event(event)
        except KeyboardInterrupt:
            return
    _print(found)


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
        text = f"There is no search to stop in {found.folder}: it {found.state_words}."
        raise RecdropError(text.replace("\n", " "))
    search, numbers = found.records.search, [str(each.number) for each in found.records.running]
    assert search is not None
    try:
        # With --now too, because a signal does not reach a search that runs in a thread.
        ask_to_stop(found.folder, now)
    except (OSError, RecdropError) as error:
        raise RecdropError(f"The search cannot be asked to end: {error}") from None
    when = "before its next trial"
    if now:
        when = "with its next epoch"
    elif numbers:
        when = f"after trial{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
    elif found.records.confirming is not None:
        when = "after the running training of the confirmation"
    words = f"the search was asked to end {when}."
    if now and _interrupt(found):
        words = f"Ctrl-C was sent to process {search.pid}."
    elif not found.is_running:
        words += f" Whether it is still running on {search.host} cannot be seen from here."
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


def _print(found: Watched) -> None:
    for line in found.lines():
        click.echo(plain(line).replace("\n", " "))  # A name with a line break would forge a line.
