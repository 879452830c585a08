"""Pieces of HTML: escaped text, tables, lists of terms."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pandas as pd

from recdrop_tune.events import Journal, SearchStarted

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult


# What the journal says about a search as a whole.


@dataclass(frozen=True)
class Search:
    """A search as its report describes it.

    Attributes:
        name: Its name.
        tuner: What proposed its trials.
        when: When it began; empty if that is not known.
        space: Its space as YAML, or words for it; empty if it is not known.
        settings: Number of trials, epochs, seed, versions.
    """

    name: str
    tuner: str
    when: str
    space: str
    settings: dict[str, Any]


def read_search(result: TuneResult) -> Search:
    """Reads a search's journal, and the versions that write its report."""
    events = Journal(result.tracking.journal_path).read()
    started = [event for event in events if isinstance(event, SearchStarted)]
    here = {"mlflow": version("mlflow"), "plotly": version("plotly")}
    here |= {"python": platform.python_version(), "platform": platform.platform()}
    if not started:
        return Search(result.directory.name, "", "", result.tracking.space or "", here)
    last = started[-1]
    return Search(
        name=last.name,
        tuner=last.tuner,
        when=time.strftime("%Y-%m-%d %H:%M", time.localtime(started[0].time)),
        space=last.space or "",
        settings={"max_trials": last.max_trials, **last.info, **here},
    )


MISSING = "–"
"""Stands for a value that is not there."""


def safe(value: object) -> str:
    """Writes anything as text in HTML, in attributes too."""
    return escape(str(value), quote=True)


def prose(text: str) -> str:
    """Writes a text of the package's own, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", safe(text))


def shown(value: Any) -> str:
    """Writes one value of a frame, numbers with four digits that count."""
    if pd.isna(value):
        return MISSING
    return safe(f"{value:.4g}" if isinstance(value, float) else value)


def terms(values: Mapping[str, object]) -> str:
    """Writes names and values as a list of terms."""
    rows = [
        f"<div><dt>{safe(name)}</dt><dd>{shown(value)}</dd></div>" for name, value in values.items()
    ]
    return f"<dl>{''.join(rows)}</dl>"


def table(frame: pd.DataFrame, best: Iterable[Any] = ()) -> str:
    """Writes a frame as a table whose columns the script sorts.

    Args:
        frame: The frame.
        best: The labels of the rows to set off.
    """
    numeric = {name for name in frame.columns if pd.api.types.is_numeric_dtype(frame[name])}
    head = "".join(
        f'<th scope="col"{_right(name in numeric)}><button>{safe(name)}</button></th>'
        for name in frame.columns
    )
    chosen = set(best)
    body = "\n".join(
        f"<tr{_class('best' if label in chosen else '')}>"
        + "".join(
            _cell(name, value, name in numeric)
            for name, value in zip(frame.columns, row, strict=True)
        )
        + "</tr>"
        for label, row in zip(frame.index, frame.itertuples(index=False), strict=True)
    )
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(name: str, value: Any, numeric: bool) -> str:
    if pd.isna(value):
        return f'<td class="missing">{MISSING}</td>'
    if name == "state":
        return f'<td><span class="state {safe(value).lower()}">{safe(value)}</span></td>'
    # Sorted by the whole number, shown rounded.
    exact = f' data-value="{float(value)!r}"' if numeric else ""
    return f"<td{_right(numeric)}{exact}>{shown(value)}</td>"


def _right(numeric: bool) -> str:
    return _class("number" if numeric else "")


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
