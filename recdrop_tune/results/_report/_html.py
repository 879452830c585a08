"""Pieces of HTML: escaped text, tables, lists of terms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import pandas as pd

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
