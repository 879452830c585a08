"""Puts the page together from its sections, its style, its script and plotly.js."""

from __future__ import annotations

import json
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

import plotly.io as pio
from plotly.offline import get_plotlyjs

from recdrop_tune.oracle import objectives
from recdrop_tune.results._report import _sections as sections
from recdrop_tune.results._report._html import safe
from recdrop_tune.results._report._search import Search, read_search

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult

_CAPTIONS = {
    "history": "One point a trial. Hollow: stopped early, at the best value until then.",
    "score_by_dropout": "A panel for each placement. The dashed line is the best score without "
    "dropout, at whatever other settings it has: what dropout is worth is told by twins alone. Points are "
    "moved aside a little, so that none hides another.",
    "parallel_coordinates": "One line a complete trial, coloured by rank: blue the best, orange the "
    "worst. Drag along an axis to pick trials, drag a name to move its axis.",
    "importances": "PED-ANOVA on the complete trials. Of few trials it is a hint, not a finding.",
    "curves": "One line a trial, the best one thick with a star at its best epoch. Click a name in "
    "the legend to hide its trials.",
    "pareto": "What one objective costs in the other. Blue trials are beaten by no other trial in "
    "every objective.",
}


def page(result: TuneResult) -> str:
    """Writes the whole page."""
    search = read_search(result)
    parts = [
        sections.outcome(result),
        sections.confirmation(result),
        sections.wrappers(result),
        *_figures(result),
        sections.trials(result),
        sections.failures(result),
        sections.setup(result, search),
        sections.mlflow(result),
    ]
    assets = files(__package__)
    template = Template(assets.joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=safe(search.name),
        heading=_heading(result, search),
        style=assets.joinpath("report.css").read_text(encoding="utf-8"),
        script=assets.joinpath("report.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        templates=_json({name: _template(name) for name in ("light", "dark")}),
        body="\n".join(parts),
    )


def _heading(result: TuneResult, search: Search) -> str:
    goals = " and ".join(
        f"the {'smallest' if each.direction == 'min' else 'largest'} {each.name}"
        for each in objectives(result.tuner.oracle.objective)
    )
    words = [search.tuner, f"for {goals}", f"experiment {result.experiment}"]
    return safe(", ".join(word for word in [*words, search.when] if word))


def _figures(result: TuneResult) -> list[str]:
    drawn = result.plots()
    return [_figure(name, figure, _CAPTIONS[name]) for name, figure in drawn.items()]


def _figure(name: str, figure: Any, caption: str) -> str:
    """Writes a figure as data, which the script draws in the colours of the page."""
    data = json.loads(figure.to_json())
    # Plotly's own text is escaped already.
    title = data["layout"].pop("title")["text"]
    data["layout"].pop("template", None)
    data["layout"]["margin"]["t"] = max(30, data["layout"]["margin"]["t"] - 40)
    data["layout"]["height"] -= 30
    return sections.section(
        name.replace("_", "-"),
        title,
        f'<p class="caption">{safe(caption)}</p>'
        f'<div class="figure" style="height:{data["layout"]["height"]}px">'
        f'<script type="application/json">{_json(data)}</script></div>',
    )


def _template(name: str) -> dict[str, Any]:
    data: dict[str, Any] = pio.templates[
        f"plotly_{name.replace('light', 'white')}"
    ].to_plotly_json()
    # The page's own colour shines through.
    data["layout"] |= {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
    return data


def _json(data: object) -> str:
    """Writes JSON in which nothing can end the script that holds it."""
    text = json.dumps(data, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
