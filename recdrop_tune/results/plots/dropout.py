"""The score by wrapper, placement and rate: which dropout, where, and how much."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from recdrop_tune.catalog import SITES
from recdrop_tune.results.plots import style as axes
from recdrop_tune.results.plots import style as style
from recdrop_tune.results.plots.view import NOT_APPLICABLE, View

_Cells = dict[str, tuple[int, int]]
"""The row and the column of each panel, from 0."""


def score_by_dropout(view: View) -> go.Figure | None:
    """Draws the score over the rate: a panel a placement, a colour a wrapper.

    A line in every panel is the best score without dropout. Layers with dropouts of their own have
    panels of their own. `None` if no trial with a score has a dropout.
    """
    points = _points(view)
    if points.empty:
        return None
    panels = sorted(set(points["panel"]), key=_rank)
    across = min(len(panels), 4 if len(panels) > 6 else 3)
    grid = _grid(view, panels, across)
    _fill(grid, view, points, {panel: divmod(i, across) for i, panel in enumerate(panels)})
    axes.show_scores(grid, view.scored[view.objective.name], view.objective)
    for column in range(2, across + 1):
        grid.update_yaxes(title=None, col=column)
    grid.update_xaxes(rangemode="tozero", showticklabels=True)
    return grid


def _grid(view: View, panels: list[str], across: int) -> go.Figure:
    """Makes the empty panels, so many in a row."""
    down = -(-len(panels) // across)
    grid = make_subplots(
        rows=down,
        cols=across,
        subplot_titles=[style.shown(panel) for panel in panels],
        shared_yaxes="all",
        shared_xaxes="all",
        x_title=_rate_title(view),
        vertical_spacing=0.28 / down,
        horizontal_spacing=0.03,
    )
    title = f"{style.shown(view.objective.name)} by wrapper, placement and rate"
    look = style.figure(title, height=220 + 250 * down).layout.to_plotly_json()
    grid.update_layout(look, margin={"t": 90})
    return grid


def _points(view: View) -> pd.DataFrame:
    """Returns a row for each layer of each trial that drops somewhere."""
    layers = []
    for layer in view.layers:
        wrapper, placement = view.column(f"{layer}wrapper"), view.column(f"{layer}placement")
        rates = [view.column(f"{layer}rate"), *(view.column(f"{layer}rate.{s}") for s in SITES)]
        rates = [column for column in rates if column is not None]
        if wrapper is None or not rates:
            continue
        frame = pd.DataFrame(index=view.scored.index)
        frame["wrapper"] = view.scored[wrapper]
        frame["panel"] = view.scored[placement] if placement else NOT_APPLICABLE
        frame["panel"] = layer + frame["panel"].fillna(NOT_APPLICABLE)
        frame["rate"] = view.scored[rates].mean(axis=1).astype("Float64")
        layers.append(frame[frame["wrapper"].ne("none") & frame["rate"].notna()])
    return pd.concat(layers) if layers else pd.DataFrame(columns=["wrapper", "panel", "rate"])


def _fill(grid: go.Figure, view: View, points: pd.DataFrame, cells: _Cells) -> None:
    looks, ranks = style.looks(points["wrapper"]), style.ordered(points["wrapper"])
    aside, seen = _aside(points["rate"], ranks), set[str]()
    for panel, (row, column) in cells.items():
        place = {"row": row + 1, "col": column + 1}
        _add_baseline(grid, view, points, place)
        inside = points[points["panel"] == panel]
        for wrapper in style.ordered(inside["wrapper"]):
            rates = inside["rate"][inside["wrapper"] == wrapper]
            trials = view.scored.loc[rates.index]
            grid.add_scatter(
                x=rates + aside[wrapper],
                y=trials[view.objective.name],
                mode="markers",
                name=style.shown(wrapper),
                legendgroup=style.shown(wrapper),
                legendrank=ranks.index(wrapper),
                showlegend=wrapper not in seen,
                marker=style.markers(looks[wrapper], trials["state"]),
                hovertext=style.hover_text(view, trials),
                hoverinfo="text",
                **place,
            )
            seen.add(wrapper)


def _aside(rates: pd.Series[float], wrappers: list[str]) -> dict[str, float]:
    """Says how far each wrapper's points are moved aside, so that none hides another at its rate."""
    gaps = rates.drop_duplicates().sort_values().diff().dropna()
    width = 0.5 * min(float(gaps.min()), 0.05) if len(gaps) else 0.02
    middle = (len(wrappers) - 1) / 2
    return {name: (i - middle) / len(wrappers) * width for i, name in enumerate(wrappers)}


def _add_baseline(grid: go.Figure, view: View, points: pd.DataFrame, place: dict[str, int]) -> None:
    """Draws the best score without any dropout, if there is one."""
    if view.without_dropout.empty:
        return
    best = float(view.without_dropout[view.objective.name].iloc[0])
    grid.add_scatter(
        x=[0.0, float(points["rate"].max())],
        y=[best, best],
        mode="lines",
        name="best without dropout",
        legendgroup="best without dropout",
        showlegend=set(place.values()) == {1},
        line={"color": style.GREY, "dash": "dash", "width": 2},
        hovertemplate=f"best without dropout: {best:.4g}<extra></extra>",
        **place,
    )


def _rank(panel: str) -> tuple[str, int, str]:
    """Orders the panels: layer by layer, single sites first."""
    layer, _, placement = panel.rpartition("/")
    known = style.PLACEMENTS
    return layer, known.index(placement) if placement in known else len(known), placement


def _rate_title(view: View) -> str:
    sites = any(view.column(f"{layer}rate.{site}") for layer in view.layers for site in SITES)
    return "rate: share dropped" + (", the mean of the sites" if sites else "")
