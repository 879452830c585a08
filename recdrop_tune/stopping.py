"""A request to stop a search that runs in another process, perhaps on another machine.

It is a file in the project folder. The search looks for it before each trial. The file is removed when the
search obeys it, and when a search starts.
"""

from __future__ import annotations

from pathlib import Path

from recdrop_tune.files import write_atomically

STOP = "stop-requested"
"""Name of the file."""


def ask_to_stop(folder: Path) -> None:
    """Asks the search in a folder to end after its running trials."""
    write_atomically(folder / STOP, b"")


def is_asked_to_stop(folder: str | Path) -> bool:
    """Returns whether the search in a folder was asked to end."""
    return Path(folder, STOP).exists()


def forget_stop(folder: str | Path) -> None:
    """Removes the request, if there is one."""
    Path(folder, STOP).unlink(missing_ok=True)
