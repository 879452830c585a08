"""A result as a notebook shows it: the outcome, the best trials, and a picture of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd

from recdrop_tune.errors import plain
from recdrop_tune.results.plots import style, view_of
from recdrop_tune.results.text import best_trials, closing_lines, opening_lines

if TYPE_CHECKING:
    from recdrop_tune.results.plots import View
    from recdrop_tune.results.tune_result import TuneResult

_TOP = 5

WIDTH, HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP_EDGE, _BOTTOM = 70, WIDTH - 12, 12, HEIGHT - 40
_MOST = 1000
"""Of more trials than that each point would hide others, and the page would grow with them."""

# No script, no style sheet and no network: some places that show notebooks allow none of them. The text has
# the colour of the page, which may be dark.
_PAGE = """\
<div>
<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{{ opening }}</pre>
{{ table | safe }}
{% if picture %}
<svg xmlns="http://www.w3.org/2000/svg" width="{{ width }}" height="{{ height }}" role="img"
 viewBox="0 0 {{ width }} {{ height }}" font-family="sans-serif" font-size="12" fill="currentColor">
<title>{{ objective }} of each trial</title>
{% for at, label in picture.rows %}
<path d="M{{ left }} {{ at }}H{{ right }}" stroke="currentColor" stroke-opacity="0.15"/>
<text x="{{ left - 6 }}" y="{{ at + 4 }}" text-anchor="end">{{ label }}</text>
{% endfor %}
{% for at, label in picture.columns %}
<text x="{{ at }}" y="{{ height - 22 }}" text-anchor="middle">{{ label }}</text>
{% endfor %}
<text x="{{ right }}" y="{{ height - 6 }}" text-anchor="end">trial, in the order of starts</text>
{% if picture.best %}
<path d="{{ picture.best }}" fill="none" stroke="{{ grey }}" stroke-width="2" stroke-dasharray="3 3"/>
{% endif %}
{% for x, y, colour, fill, words in picture.points %}
<circle cx="{{ x }}" cy="{{ y }}" r="4" stroke="{{ colour }}" fill="{{ fill }}">
<title>{{ words }}</title></circle>
{% endfor %}
</svg>
<p>{{ objective }} of each trial.
{% for kind, colour in picture.kinds %}
<span style="color: {{ colour }}">&#9679;</span> {{ kind }}
{% endfor %}
{{ picture.remark }}</p>
{% endif %}
<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{{ closing }}</pre>
</div>
"""


def notebook_page(result: TuneResult) -> str:
    """Writes the outcome as HTML; see `TuneResult`."""
    view = view_of(result)
    template = jinja2.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    ).from_string(_PAGE)
    page = template.render(
        opening="\n".join(opening_lines(result)),
        # pandas escapes what is in the cells.
        table=best_trials(result, _TOP).to_html(index=False, border=0),
        picture=None if _drawable(view).empty else _picture(view),
        closing="\n".join(closing_lines(result)),
        objective=view.objective.name,
        width=WIDTH,
        height=HEIGHT,
        left=_LEFT,
        right=_RIGHT,
        grey=style.GREY,
    )
    return plain(page)


def _drawable(view: View) -> pd.DataFrame:
    """Returns the trials with a finite score, in the order of starts: the last ones, where there are many."""
    finite = style.finite(view.scored[view.objective.name])
    return view.scored.loc[finite.index].sort_values("number").tail(_MOST)


def _picture(view: View) -> dict[str, Any]:
    """Places the trials: their order from left to right, their score from the bottom to the top."""
    name, rows = view.objective.name, _drawable(view)
    scores, ends = rows[name].astype(float), style.focus(rows[name], view.objective.direction)
    inside = rows if ends is None else rows[scores.between(*ends)]
    low, high = ends or (float(scores.min()), float(scores.max()))
    if low == high:
        low, high = low - 0.5, high + 0.5
    first, last = float(rows["number"].min()), float(rows["number"].max())

    def x(number: float) -> float:
        return round(
            _LEFT + 8 + (number - first) / ((last - first) or 1.0) * (_RIGHT - _LEFT - 16), 1
        )

    def y(score: float) -> float:
        return round(_BOTTOM - (score - low) / (high - low) * (_BOTTOM - _TOP_EDGE), 1)

    looks, kinds = style.looks(view.kinds), view.kinds[inside.index]
    columns = (inside["number"], inside[name], inside["state"], kinds)
    points = [
        (
            x(number),
            y(score),
            looks[kind][0],
            looks[kind][0] if state == "COMPLETE" else "none",
            f"trial {number}, {state.lower()}: {kind}, {name} {score:.4g}",
        )
        for number, score, state, kind in zip(*columns, strict=True)
    ]
    hidden = len(rows) - len(inside)
    remarks = ["Hollow: stopped early."] * bool((inside["state"] != "COMPLETE").any())
    remarks += [f"{hidden} worse trials are out of sight."] * bool(hidden)
    return {
        "rows": [(y(tick), f"{tick:.4g}") for tick in style.ticks(low, high, logarithmic=False)],
        "columns": [(x(number), int(number)) for number in dict.fromkeys((first, last))],
        "points": points,
        "best": _steps([(x(n), y(s)) for n, s in _best_so_far(view, inside)], x(last)),
        "kinds": [(kind, looks[kind][0]) for kind in style.ordered(kinds)],
        "remark": " ".join(remarks),
    }


def _best_so_far(view: View, rows: pd.DataFrame) -> list[tuple[float, float]]:
    """Lists the complete trials that were the best when they had run."""
    found: list[tuple[float, float]] = []
    complete = rows[rows["state"] == "COMPLETE"]
    for number, score in zip(complete["number"], complete[view.objective.name], strict=True):
        better = not found or (score < found[-1][1]) == (view.objective.direction == "min")
        if better:
            found.append((float(number), float(score)))
    return found


def _steps(corners: list[tuple[float, float]], end: float) -> str:
    """Draws a line that goes to the right and then to the next corner's height."""
    if not corners:
        return ""
    (x, y), *others = corners
    return f"M{x} {y}" + "".join(f"H{x}V{y}" for x, y in others) + f"H{end}"
