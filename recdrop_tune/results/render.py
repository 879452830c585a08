"""The outline of a result as text, as Markdown and as HTML. Quoted text is escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from recdrop_tune.errors import invalid_argument, plain
from recdrop_tune.files import write_atomically
from recdrop_tune.markdown import harmless, markdown_table
from recdrop_tune.results.frames import format_cell
from recdrop_tune.results.outline import Section

_NUMBER = r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?( [±(].*)?$"
"""A number, its spread or its interval; not a version or a date."""


def as_text(sections: Iterable[Section]) -> str:
    """Writes sections for a terminal."""
    parts = []
    for each in sections:
        table = "" if each.table is None else _cells(each.table).to_string(index=False)
        title = f"{each.title}:" if each.title else ""
        parts.append("\n".join(filter(None, [title, *each.lines, table])))
    return plain("\n\n".join(filter(None, parts)))


def as_markdown(sections: Iterable[Section]) -> str:
    """Writes sections as Markdown without links, images or HTML."""
    parts: list[str] = []
    for each in sections:
        parts += [f"### {each.title}"] if each.title else []
        parts += [*each.lines, each.note]
        if each.table is not None:
            cells = _cells(each.table)
            parts.append(markdown_table(cells, cells.to_numpy().tolist()))
    return harmless("\n\n".join(filter(None, parts)) + "\n")


def as_html(sections: Sequence[Section]) -> str:
    """Writes sections as HTML without scripts, styles or addresses: some notebooks allow none of them."""
    return f"<div>\n{_SECTIONS.render(sections=sections)}</div>\n"


def as_page(title: str, sections: Sequence[Section]) -> str:
    """Writes an HTML page that opens without a network."""
    asset = files(__package__).joinpath
    return _PAGE.render(
        title=title,
        body=Markup(_SECTIONS.render(sections=sections)),
        style=Markup(asset("report.css").read_text(encoding="utf-8")),
        script=Markup(asset("report.js").read_text(encoding="utf-8")),
        plotly=Markup(get_plotlyjs()),
    )


def write_page(path: str | Path, title: str, sections: Sequence[Section]) -> Path:
    """Writes a page into a file, which it replaces."""
    page, path = as_page(title, sections), Path(path).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page)
    except (OSError, ValueError) as error:  # "." has no name for a file.
        raise invalid_argument(
            "path",
            expected="a file that can be written",
            received=str(path),
            fix=f"{error}. Give another path.",
        ) from error
    return path


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    words = {
        name: [format_cell(each, str(name)) for each in column] for name, column in table.items()
    }
    return pd.DataFrame(words, dtype=object)


def _sides(cells: pd.DataFrame) -> list[str]:
    """Returns an attribute for each column: those of numbers are aligned on the right."""
    numbers = cells.apply(lambda column: column.str.match(_NUMBER).sum() * 2 > column.ne("-").sum())
    return [Markup(' align="right"') if each else "" for each in numbers]


def _prose(text: str) -> Markup:
    """Escapes a text, and writes what stands between backticks as code."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(plain(text)))))


def _figure(figure: go.Figure) -> dict[str, Any]:
    """Returns a figure as data. The page has its title already."""
    data: dict[str, Any] = json.loads(figure.to_json())
    layout = data["layout"]
    del layout["title"]
    layout["margin"]["t"] = max(30, layout["margin"]["t"] - 40)
    layout["height"] -= 30
    return data


_ENVIRONMENT = jinja2.Environment(
    autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
)
_ENVIRONMENT.filters.update(cells=_cells, figure=_figure, plain=plain, prose=_prose, sides=_sides)
_ENVIRONMENT.policies["json.dumps_kwargs"] = {"allow_nan": False}
_SECTIONS = _ENVIRONMENT.from_string(
    """\
{% for each in sections %}
<section>
{% if each.title %}
<h2>{{ each.title | plain }}</h2>
{% endif %}
{% for line in each.lines %}
<p>{{ line | prose }}</p>
{% endfor %}
{% if each.note %}
<p class="note">{{ each.note | prose }}</p>
{% endif %}
{% if each.table is not none %}
{% set cells = each.table | cells %}
{% set sides = cells | sides %}
<div class="scroll"><table><thead><tr>
{%- for name in cells %}<th{{ sides[loop.index0] }}>{{ name | string | plain }}</th>{% endfor -%}
</tr></thead><tbody>
{% for row in cells.itertuples(index=False) %}
<tr>{% for cell in row %}<td{{ sides[loop.index0] }}>{{ cell | plain }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% endif %}
{% if each.text %}
<pre>{{ each.text | plain }}</pre>
{% endif %}
{% if each.figure is not none %}
{% set data = each.figure | figure %}
<div class="figure" style="height: {{ data.layout.height }}px"><script type="application/json">
{{- data | tojson }}</script></div>
{% endif %}
</section>
{% endfor %}
"""
)
_PAGE = _ENVIRONMENT.from_string(
    """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}: recdrop-tune report</title>
<style>
{{ style }}</style>
</head>
<body>
<h1>{{ title }}</h1>
<noscript><p>The figures need JavaScript; everything else is here without it.</p></noscript>
{{ body }}
<script>{{ plotly }}</script>
<script>
{{ script }}</script>
</body>
</html>
"""
)
