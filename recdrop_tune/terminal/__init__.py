"""A reader of events: what a terminal or a notebook shows of a search."""

from recdrop_tune.terminal.displays import Progress, Terminal, live_display
from recdrop_tune.terminal.status import (
    best_words,
    counts,
    dropout_words,
    gain_words,
    no_more_words,
    trainings,
)
from recdrop_tune.terminal.watching import WatchedSearch

__all__ = [
    "Progress",
    "Terminal",
    "WatchedSearch",
    "best_words",
    "counts",
    "dropout_words",
    "gain_words",
    "live_display",
    "no_more_words",
    "trainings",
]
