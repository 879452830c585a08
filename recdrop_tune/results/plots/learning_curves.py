"""The objective of each trial over its epochs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from recdrop_tune.results.frames import metric_column
from recdrop_tune.results.plots import style as axes
from recdrop_tune.results.plots import style as style
from recdrop_tune.results.plots.view import View

# The score of each trial in the order of starts, and the best so far.


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


def curves(view: View) -> go.Figure | None:
    """Draws the curves, the best trial's thick; `None` if no epoch reported the objective.

    Where a configuration is trained several times its curve is their mean. Curves of trials that
    were not completed are dotted.
    """
    points = _points(view)
    if points["value"].isna().all():
        return None
    drawing = style.figure(f"{style.shown(view.objective.name)} over the epochs")
    looks = style.looks(view.kinds)
    for kind in style.ordered(points["kind"]):
        for complete in (True, False):
            chosen = points[(points["kind"] == kind) & (points["complete"] == complete)]
            if len(chosen):
                dash = "solid" if complete else "dot"
                line = {"color": looks[kind][0], "width": 1.3, "dash": dash}
                _add(drawing, chosen, kind if complete else f"{kind}, not complete", line)
    # Few curves can be strong; many are to let each other through.
    opacity = max(0.35, min(0.9, 14 / len(view.trials)))
    drawing.update_traces(opacity=opacity, selector={"showlegend": False})
    _add_best(drawing, view, points)
    drawing.update_xaxes(title=axes.title("epoch"))
    _show_most(drawing, view, points)
    return drawing


def _points(view: View) -> pd.DataFrame:
    """Returns a row for each epoch of each trial, with what is said of the trial."""
    name, keys = metric_column(view.objective.name), ["trial_id", "epoch"]
    if name not in view.history:
        return pd.DataFrame({"value": []})
    values = view.history.groupby(keys, sort=False)[name].mean().rename("value").reset_index()
    said = view.trials[["trial_id"]].assign(
        kind=view.kinds,
        complete=view.trials["state"] == "COMPLETE",
        text=style.hover_text(view, view.trials),
    )
    return values.merge(said, on="trial_id")


def _add(drawing: go.Figure, points: pd.DataFrame, label: str, line: dict[str, Any]) -> None:
    """Adds the curves of many trials as one trace, with gaps between them."""
    x: list[Any] = []
    y: list[Any] = []
    texts: list[Any] = []
    for _, curve in points.groupby("trial_id", sort=False):
        x += [*curve["epoch"], None]
        y += [*(None if pd.isna(value) else value for value in curve["value"]), None]
        texts += [*curve["text"], None]
    label = style.shown(label)
    look: dict[str, Any] = {"mode": "lines", "legendgroup": label, "line": line}
    drawing.add_scatter(x=x, y=y, showlegend=False, hovertext=texts, hoverinfo="text", **look)
    # The curves let each other through; their name in the legend does not.
    drawing.add_scatter(x=[None], y=[None], name=label, **look)


def _add_best(drawing: go.Figure, view: View, points: pd.DataFrame) -> None:
    if view.complete.empty:
        return
    best = view.complete.iloc[0]
    curve = points[points["trial_id"] == best["trial_id"]]
    if curve.empty:
        return
    # Which epoch it was is not known where the journal's line about the trial's end is damaged.
    star = None if pd.isna(best["best_epoch"]) else best["best_epoch"]
    sizes = [16 if epoch == star else 0 for epoch in curve["epoch"]]
    drawing.add_scatter(
        x=curve["epoch"],
        y=curve["value"],
        mode="lines+markers",
        name=f"best: trial {best['number']}",
        line={"color": style.looks(view.kinds)[curve["kind"].iloc[0]][0], "width": 4},
        marker={"symbol": "star", "size": sizes},
        hovertext=curve["text"],
        hoverinfo="text",
    )


def _show_most(drawing: go.Figure, view: View, points: pd.DataFrame) -> None:
    """Shows the better trials and the middle of where they start, whatever a few others do."""
    axis = axes.numbers(points["value"], view.objective.name)
    ends = axes.focus(view.scored[view.objective.name], view.objective.direction)
    if ends is not None and "type" not in axis:
        start = float(points.groupby("trial_id")["value"].first().median())
        axis["range"] = [min(ends[0], start), max(ends[1], start)]
        axes.note_hidden(drawing, "Some curves")
    drawing.update_yaxes(**axis)
