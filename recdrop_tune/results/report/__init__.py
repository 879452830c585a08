"""The report: one HTML page with everything about a search, which opens without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recdrop_tune.errors import invalid_argument
from recdrop_tune.files import write_atomically
from recdrop_tune.results.report.document import page

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult


__all__ = ["write_report"]


def write_report(result: TuneResult, path: Path) -> Path:
    """Writes the report, whole or not at all; see `TuneResult.report`."""
    if path.is_dir():
        raise invalid_argument("path", expected="a file", received=str(path), fix="Add a name.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page(result))
    return path
