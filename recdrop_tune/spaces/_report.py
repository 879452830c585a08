"""Collects what is wrong with a search space and says it in one error."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches

from recdrop_tune.errors import SearchSpaceError, shown

_MOST_LINES = 50


def suggestion(received: object, words: tuple[str, ...], prefix: str = "") -> str:
    """Returns `Did you mean ...?` for a near miss, or an empty string."""
    # Nobody misspells a word by a thousand letters, and comparing takes a time that grows with them.
    word = received.lower() if isinstance(received, str) and len(received) < 100 else ""
    near = get_close_matches(word, words, n=1)
    return f"Did you mean `{prefix}{near[0]}`?" if near else ""


def _name(key: object) -> str:
    return key if isinstance(key, str) and len(key) < 100 else shown(key)


@dataclass
class Report:
    """Collects every problem of one search space, so that the user can mend them in one go.

    Attributes:
        source: The file, preset or dict, as the message is to name it.
        lines: One line a problem.
    """

    source: str
    lines: list[str] = field(default_factory=list)

    def add(self, path: str, expected: str, received: object, fix: str = "") -> None:
        """Notes a bad value, in the wording of `recdrop_tune.errors.invalid_argument`."""
        line = (
            f"Invalid value received for `{path}` in {self.source}. Expected {expected}. "
            f"Received: {path}={shown(received)}"
        )
        self.lines.append(f"{line}. {fix}" if fix else line)

    def add_key(self, path: str, key: object, known: tuple[str, ...]) -> None:
        """Notes a key that does not exist."""
        prefix = f"{path}." if path else ""
        line = (
            f"Invalid key `{prefix}{_name(key)}` in {self.source}. Expected one of {', '.join(known)}. "
            f"Received: {shown(key)}"
        )
        near = suggestion(key, known, prefix)
        self.lines.append(f"{line}. {near}" if near else line)

    def check(self) -> None:
        """Raises one `SearchSpaceError` that holds every problem noted."""
        if self.lines:
            more = len(self.lines) - _MOST_LINES
            rest = [f"... and {more} more problems."] if more > 0 else []
            raise SearchSpaceError("\n".join([*self.lines[:_MOST_LINES], *rest]))
