"""A reader of events: what a terminal or a notebook shows of a search."""

from recdrop_tune.terminal.displays import LiveDisplay, Progress, Terminal, live_display
from recdrop_tune.terminal.status import (
    Standing,
    amount,
    best_words,
    duration,
    gain_words,
    gained,
    no_more_words,
    score_of,
)
from recdrop_tune.terminal.watching import Watched

__all__ = [
    "LiveDisplay",
    "Progress",
    "Standing",
    "Terminal",
    "Watched",
    "amount",
    "best_words",
    "duration",
    "gain_words",
    "gained",
    "live_display",
    "no_more_words",
    "score_of",
]
