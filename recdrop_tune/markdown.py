"""Markdown that quotes other people's text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from recdrop_tune.errors import plain

NOTE_LENGTH = 5000
"""The longest description of a run, for the oldest servers (MLflow 3 takes 8000 characters of a tag)."""


def harmless(markdown: str) -> str:
    """Removes links, images, bare addresses and HTML from Markdown that quotes other people's text.

    Otherwise the page of a run would load an image from any address in the text. Applying it twice changes
    nothing more.

    Example:
        >>> harmless("| rate | ![](host/pixel) http://host <img> |")
        '| rate | !&#91;](host/pixel) http&#58;//host &lt;img> |'
    """
    text = plain(markdown).replace("[", "&#91;").replace("<", "&lt;").replace("://", "&#58;//")
    return re.sub(r"(www)\.", r"\1&#46;", text, flags=re.IGNORECASE)


def quoted(text: str) -> str:
    """Quotes a path or a command as code, unless `harmless` would change it: Markdown decodes nothing there.

    Example:
        >>> quoted("runs/speech"), quoted("runs[1]")
        ('`runs/speech`', 'runs&#91;1&#93;')
    """
    if text.isprintable() and "`" not in text and harmless(text) == text:
        return f"`{text}`"
    line = plain(text).replace("\n", " ")
    return re.sub(r"[^\w\s/='\",-]|_", lambda match: f"&#{ord(match[0])};", line)


def markdown_table(names: Iterable[object], rows: Iterable[Iterable[str]]) -> str:
    """Writes a table."""
    head = [str(name) for name in names]
    head, *cells = [
        [cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (head, *rows)
    ]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
