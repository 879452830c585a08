"""The journal of a search: every event, one line of JSON each, in the project folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

from recdrop_tune.tracking._events import Event, from_json, to_json


class Journal:
    """Appends events to a file; each is on its way to the disk when `on_event` returns.

    The journal is what tracking servers are filled from, so unlike theirs its failures (a full
    disk) are the search's failures.

    Args:
        path: The file; it is made with its first event.

    Example:
        >>> Journal("recdrop_runs/speech/events.jsonl").read()
        []
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: TextIO | None = None

    def on_event(self, event: Event) -> None:
        """Appends one event."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            cut_short = _is_cut_short(self.path)
            self._file = self.path.open("a", encoding="utf-8")
            if cut_short:
                self._file.write("\n")
        self._file.write(to_json(event) + "\n")
        self._file.flush()

    def read(self) -> list[Event]:
        """Returns the events so far; a last line cut short by a crash is left out."""
        if not self.path.exists():
            return []
        events = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                event = from_json(line)
            except json.JSONDecodeError:
                continue
            if event is not None:
                events.append(event)
        return events

    def close(self) -> None:
        """Closes the file; another event opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _is_cut_short(path: Path) -> bool:
    """Says whether a crash has left half a line, which must not become half of another one."""
    return path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
