"""A reader of events: what a terminal or a notebook shows of a search."""

from recdrop_tune.terminal.displays import Progress, print_search
from recdrop_tune.terminal.status import (
    counts,
    format_best,
    format_best_gain,
    format_dropout,
    format_ending,
    trainings,
    wording,
)
from recdrop_tune.terminal.watching import WatchedSearch

__all__ = [
    "Progress",
    "WatchedSearch",
    "counts",
    "format_best",
    "format_best_gain",
    "format_dropout",
    "format_ending",
    "print_search",
    "trainings",
    "wording",
]
