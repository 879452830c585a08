"""A request to a search that runs in another process, perhaps on another machine, to come to an end.

It is a file in the project folder. The search looks for it before each trial, and for one that asks to end at
once after each epoch too. It is removed when it is obeyed, and when a search begins.
"""

from __future__ import annotations

from pathlib import Path

from recdrop_tune.files import write_atomically

STOP = "stop-requested"
"""Name of the file."""

_NOW = b"now\n"


def ask_to_stop(folder: Path, now: bool = False) -> None:
    """Asks the search in a folder to end.

    Args:
        folder: The project folder.
        now: Whether to break off the trials that are running, as Ctrl-C does.

    Raises:
        OSError: The folder cannot be written to.
    """
    write_atomically(folder / STOP, _NOW if now else b"after the trials that are running\n")


def is_asked_to_stop(folder: str | Path, now: bool = False) -> bool:
    """Says whether the search in a folder has been asked to end; with `now`, whether at once."""
    path = Path(folder, STOP)
    try:
        return path.read_bytes() == _NOW if now else path.exists()
    except OSError:  # Another process removed it.
        return False


def forget_stop(folder: str | Path) -> None:
    """Removes the request, if there is one."""
    Path(folder, STOP).unlink(missing_ok=True)
