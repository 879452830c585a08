"""A console that may lose its reader."""

from __future__ import annotations

import os
from contextlib import suppress

from rich.console import Console


class Terminal(Console):
    """A console that a search outlives: when nobody reads it any more (`... | head`), it falls silent.

    rich's own ends the process then, which is right for a command that only prints.
    """

    def on_broken_pipe(self) -> None:
        """Prints nothing from now on."""
        self.quiet = True
        with suppress(OSError, ValueError):  # What has no descriptor has nothing to flush either.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            # For what is in the file's buffer: Python writes that when it ends, and would complain.
            os.dup2(nowhere, self.file.fileno())
            os.close(nowhere)
