"""What a search prints: its folder, its progress and, if it is interrupted, how to resume it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recdrop_tune.errors import plain
from recdrop_tune.events import Listener
from recdrop_tune.records import Records
from recdrop_tune.terminal import Progress, Terminal, counts, format_best, live_display


@contextmanager
def print_search(
    folder: Path,
    records: Records,
    how: str,
    verbose: int,
    workers: int,
    hints: Iterable[str] = (),
) -> Iterator[list[Listener]]:
    """Prints a search while the block runs; on Ctrl-C the traceback ends with `how` to resume it.

    Yields the listeners that print its events. With `verbose` 1 they print a line per trial, with 2 also one
    per epoch.
    """
    try:
        if not verbose:
            yield []
            return
        console = Terminal(highlight=False)
        with live_display(console, records, workers) as display:
            for line in (f"Folder: {folder} (to resume: {how})", *_earlier(records), *hints):
                print(line, flush=True)
            progress = Progress(console, verbose > 1, records, workers)
            yield [progress] if display is None else [progress, display]
    except KeyboardInterrupt as interrupt:
        # Notes come after the traceback. Printed lines would be above it, out of sight.
        interrupt.add_note(plain(f"Interrupted. Finished trials are kept in {folder}."))
        best = format_best(records)
        if best is not None:
            interrupt.add_note(plain(f"Best so far: {best}"))
        interrupt.add_note(plain(f"To resume: {how}"))
        raise


def _earlier(records: Records) -> Iterator[str]:
    """Yields a line about the trials of earlier sessions, if there are any."""
    if numbers := counts(records):
        states = ", ".join(f"{number} {state}" for state, number in numbers.items())
        yield f"Resuming after {sum(numbers.values())} trials: {states}."
