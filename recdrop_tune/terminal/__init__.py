"""A reader of events: what a terminal or a notebook shows of a search."""

from recdrop_tune.terminal.displays import LiveDisplay, Progress, Terminal, live_display
from recdrop_tune.terminal.status import (
    best_words,
    confirmed,
    counts,
    dropout_words,
    duration,
    gain_words,
    no_more_words,
)
from recdrop_tune.terminal.watching import Watched

__all__ = [
    "LiveDisplay",
    "Progress",
    "Terminal",
    "Watched",
    "best_words",
    "confirmed",
    "counts",
    "dropout_words",
    "duration",
    "gain_words",
    "live_display",
    "no_more_words",
]
