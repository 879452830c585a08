"""A request to stop a search that runs in another process, perhaps on another machine.

It is a file in the project folder. The search looks for it before each trial, and after each epoch for a
request to stop at once. The file is removed when the search obeys it, and when a search starts.
"""

from __future__ import annotations

from pathlib import Path

from recdrop_tune.files import write_atomically

STOP = "stop-requested"
"""Name of the file."""

_NOW = b"now\n"


def ask_to_stop(folder: Path, now: bool = False) -> None:
    """Asks the search in a folder to end; with `now`, to interrupt the running trials, as Ctrl-C does."""
    write_atomically(folder / STOP, _NOW if now else b"after the running trials\n")


def is_asked_to_stop(folder: str | Path, now: bool = False) -> bool:
    """Returns whether the search in a folder was asked to end; with `now`, whether at once."""
    path = Path(folder, STOP)
    try:
        return path.read_bytes() == _NOW if now else path.exists()
    except OSError:  # Another process removed it.
        return False


def forget_stop(folder: str | Path) -> None:
    """Removes the request, if there is one."""
    Path(folder, STOP).unlink(missing_ok=True)
