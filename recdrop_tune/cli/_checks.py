"""What a check of `recdrop-tune doctor` returns, and what several of them ask."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Check:
    """The outcome of a check.

    Attributes:
        level: `ok`, `warn` or `fail`.
        text: What was found.
        fix: What to do about it.
    """

    level: str
    text: str
    fix: str = ""

    def line(self) -> str:
        r"""Returns text and remedy as one line.

        Example:
            >>> Check("warn", "No room:\n3 MiB", "Make some.").line()
            'No room: 3 MiB. Make some.'
        """
        text = " ".join(self.text.split())
        if not self.fix:
            return text
        return f"{text.rstrip('.')}. {' '.join(self.fix.split())}"


def why_not_writable(place: Path) -> str:
    """Says why nothing can be made at a path; empty if it can.

    Args:
        place: A folder or a file, there or not. Nothing is left there.
    """
    there = next(path for path in (place, *place.parents) if path.exists())
    try:
        # As a search asks it. Where TensorFlow is broken, `facade` cannot be imported to ask for it.
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        return str(error)
    return ""
