"""What one objective costs in another: the Pareto front."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import keras_tuner as kt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from recdrop_tune.results._pareto import pareto_front
from recdrop_tune.results._plots import _axes as axes
from recdrop_tune.results._plots import _style as style
from recdrop_tune.results._plots._view import View


def pareto(view: View) -> go.Figure | None:
    """Draws a panel for each pair of objectives; `None` if there is one objective only."""
    front = pareto_front(view.trials, view.objectives)
    pairs = list(combinations(view.objectives, 2))
    if not pairs or front.empty:
        return None
    drawing = style.figure("Pareto front", height=100 + 380 * len(pairs))
    grid = make_subplots(rows=len(pairs), cols=1, vertical_spacing=0.2 / len(pairs))
    grid.update_layout(drawing.layout.to_plotly_json())
    others = view.complete[~view.complete["trial_id"].isin(front["trial_id"])]
    for row, (across, up) in enumerate(pairs, start=1):
        _add(grid, view, others, (across, up), row)
        _add(grid, view, front, (across, up), row)
        _name(grid.data[-2], "dominated", style.GREY, "circle", 7)
        _name(grid.data[-1], "not dominated", style.BEST, "diamond", 12)
        if len(view.objectives) == 2:
            _join(grid, front, (across, up))
        grid.update_xaxes(**axes.numbers(view.complete[across.name], across.name), row=row)
        grid.update_yaxes(**axes.numbers(view.complete[up.name], up.name), row=row)
    return grid


Pair = tuple[kt.Objective, kt.Objective]


def _add(grid: go.Figure, view: View, rows: pd.DataFrame, pair: Pair, row: int) -> None:
    grid.add_scatter(
        x=rows[pair[0].name],
        y=rows[pair[1].name],
        mode="markers",
        showlegend=row == 1,
        hovertext=style.hover_text(view, rows),
        hoverinfo="text",
        row=row,
        col=1,
    )


def _name(trace: Any, name: str, colour: str, symbol: str, size: int) -> None:
    marker = {"color": colour, "symbol": symbol, "size": size}
    trace.update(name=name, legendgroup=name, marker=marker)


def _join(grid: go.Figure, front: pd.DataFrame, pair: Pair) -> None:
    """Draws the border of what is dominated: steps from one trial of the front to the next."""
    rows = front.sort_values(pair[0].name)
    grid.add_scatter(
        x=rows[pair[0].name],
        y=rows[pair[1].name],
        mode="lines",
        line={
            "shape": "hv" if pair[0].direction == "min" else "vh",
            "color": style.BEST,
            "width": 1.5,
        },
        showlegend=False,
        hoverinfo="skip",
        row=1,
        col=1,
    )
