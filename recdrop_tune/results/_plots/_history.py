"""The score of each trial in the order of starts, and the best so far."""

from __future__ import annotations

import plotly.graph_objects as go

from recdrop_tune.results._plots import _axes as axes
from recdrop_tune.results._plots import _style as style
from recdrop_tune.results._plots._view import View


def history(view: View) -> go.Figure | None:
    """Draws the scores over the search; `None` if there are none.

    Trials that were stopped early are hollow, at the best value until then.
    """
    if view.scored.empty:
        return None
    name = view.objective.name
    drawing = style.figure(f"{style.shown(name)} of each trial")
    _add_best_so_far(drawing, view)
    kinds = view.kinds[view.scored.index]
    looks = style.looks(kinds)
    for kind in style.ordered(kinds):
        rows = view.scored[kinds == kind]
        drawing.add_scatter(
            x=rows["number"],
            y=rows[name],
            mode="markers",
            name=style.shown(kind),
            marker=style.markers(looks[kind], rows["state"]),
            hovertext=style.hover_text(view, rows),
            hoverinfo="text",
        )
    drawing.update_xaxes(title=axes.title("number"))
    axes.show_scores(drawing, view.scored[name], view.objective)
    return drawing


def _add_best_so_far(drawing: go.Figure, view: View) -> None:
    rows, name = view.complete.sort_values("number"), view.objective.name
    scores = rows[name].cummin() if view.objective.direction == "min" else rows[name].cummax()
    drawing.add_scatter(
        x=rows["number"],
        y=scores,
        mode="lines",
        name="best so far",
        line={"shape": "hv", "color": style.GREY, "width": 2, "dash": "dot"},
        hoverinfo="skip",
    )
