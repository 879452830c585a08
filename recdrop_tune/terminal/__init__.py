"""A reader of events: what a terminal or a notebook shows of a search."""

from recdrop_tune.terminal.lines import Progress, Terminal
from recdrop_tune.terminal.live import live_display
from recdrop_tune.terminal.status import amount, gained

__all__ = [
    "Progress",
    "Terminal",
    "amount",
    "gained",
    "live_display",
]
