"""The command `recdrop-tune`. A command is a file, which imports what it needs when it is run."""

from recdrop_tune.cli.commands import main

__all__ = ["main"]
