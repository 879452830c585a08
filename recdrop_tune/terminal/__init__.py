"""A reader of events: what a terminal or a notebook shows of a search."""

from recdrop_tune.terminal.displays import LiveDisplay, Progress, Terminal, live_display
from recdrop_tune.terminal.status import amount, best_words, duration, gained

__all__ = [
    "LiveDisplay",
    "Progress",
    "Terminal",
    "amount",
    "best_words",
    "duration",
    "gained",
    "live_display",
]
