"""The trials side by side: importances, parallel coordinates and the Pareto front."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import keras_tuner as kt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.records import QUESTIONS
from recdrop_tune.results.found import NOT_APPLICABLE, Found
from recdrop_tune.results.frames import pareto_front
from recdrop_tune.results.plots import style


def importances(found: Found) -> go.Figure | None:
    """Draws the importances, the largest on top; `None` if they are unknown."""
    if found.importances is None or found.importances.empty:
        return None
    shares = found.importances[::-1]
    drawing = style.figure("Importance of each hyperparameter", height=140 + 34 * len(shares))
    drawing.add_bar(
        x=shares.to_list(),
        y=[style.shown(name) for name in shares.index],
        orientation="h",
        marker={"color": style.BEST},
        text=[f"{share:.0%}" for share in shares],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    drawing.update_xaxes(title="share of what makes a trial one of the best", tickformat=".0%")
    drawing.update_yaxes(automargin=True)
    return drawing


Pair = tuple[kt.Objective, kt.Objective]

# Up to this many values have a tick each.
_FEW = 6


def parallel_coordinates(found: Found) -> go.Figure | None:
    """Draws a line a complete trial, coloured by its score; `None` if there is nothing to compare.

    Constant hyperparameters are left out. Lines pass through "n/a" where a hyperparameter is inactive.
    """
    rows, names = found.complete, _by_question(found.varying)
    if rows.empty or not names:
        return None
    # Plotly draws the largest colour last, so the best trial lies on top.
    ranks = rows[found.objective.name].rank(ascending=found.objective.direction == "max", pct=True)
    drawing = style.figure("Configurations and their score", height=500)
    columns = [_dimension(rows[name], name, name in found.logarithmic) for name in names]
    columns += [_score(rows[each.name], each) for each in found.objectives]
    longest = max(len(word) for word in columns[0]["ticktext"])
    drawing.update_layout(margin={"t": 110, "l": 30 + 7 * longest, "r": 60, "b": 30})
    drawing.add_parcoords(
        dimensions=columns,
        line={"color": ranks, "colorscale": style.SCALE, "cmin": 0.0, "cmax": 1.0},
    )
    return drawing


def _by_question(names: list[str]) -> list[str]:
    """Puts which dropout, where, how much and when first."""
    asked = [name for name in names if name.split("/")[-1].split(".")[0] in QUESTIONS]
    return [*asked, *(name for name in names if name not in asked)]


def _score(values: pd.Series[Any], objective: kt.Objective) -> dict[str, Any]:
    # For a loss the axis spreads the small values, for an accuracy the large ones.
    wide = objective.direction == "min" and style.is_wide(values, span=6.0)
    return _dimension(values, objective.name, wide)


def _dimension(values: pd.Series[Any], name: str, logarithmic: bool) -> dict[str, Any]:
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return _numbers(values.astype("Float64"), name, logarithmic)
    return _words(values.astype(object).fillna(NOT_APPLICABLE).astype(str), name)


def _words(values: pd.Series[str], name: str) -> dict[str, Any]:
    order = TECHNIQUES if name.split("/")[-1] == "wrapper" else style.PLACEMENTS
    known = style.ordered(values, order)
    words = [word for word in known if word != NOT_APPLICABLE]
    words = [*([NOT_APPLICABLE] if NOT_APPLICABLE in known else []), *words]
    return {
        "label": style.title(name),
        "values": [words.index(value) for value in values],
        "tickvals": list(range(len(words))),
        "ticktext": [style.shown(word) for word in words],
        # An axis of one word needs some length too.
        "range": [-0.3, max(len(words) - 0.7, 0.3)],
    }


def _numbers(values: pd.Series[Any], name: str, logarithmic: bool) -> dict[str, Any]:
    numbers = values.dropna().to_numpy(dtype=float)
    low, high = (float(numbers.min()), float(numbers.max())) if len(numbers) else (0.0, 1.0)
    few = sorted({float(number) for number in numbers})
    ticks = few if 1 < len(few) <= _FEW else style.ticks(low, high, logarithmic)
    place = math.log10 if logarithmic else float
    bottom, top = place(min(low, ticks[0])), place(max(high, ticks[-1]))
    below = bottom - 0.15 * ((top - bottom) or 1.0)
    missing = bool(values.isna().any())
    return {
        "label": style.title(name, logarithmic),
        "values": [below if pd.isna(value) else place(value) for value in values],
        "tickvals": [*([below] if missing else []), *(place(tick) for tick in ticks)],
        "ticktext": [*([NOT_APPLICABLE] if missing else []), *(f"{tick:.4g}" for tick in ticks)],
        "range": [below if missing else bottom, top if top > bottom else bottom + 1.0],
    }


def pareto(found: Found) -> go.Figure | None:
    """Draws a panel for each pair of objectives; `None` if there is one objective only."""
    front = pareto_front(found.trials, found.objectives)
    pairs = list(combinations(found.objectives, 2))
    if not pairs or front.empty:
        return None
    drawing = style.figure("Pareto front", height=100 + 380 * len(pairs))
    grid = make_subplots(rows=len(pairs), cols=1, vertical_spacing=0.2 / len(pairs))
    grid.update_layout(drawing.layout.to_plotly_json())
    others = found.complete[~found.complete["trial_id"].isin(front["trial_id"])]
    for row, (across, up) in enumerate(pairs, start=1):
        _add(grid, found, others, (across, up), row)
        _add(grid, found, front, (across, up), row)
        _name(grid.data[-2], "dominated", style.GREY, "circle", 7)
        _name(grid.data[-1], "not dominated", style.BEST, "diamond", 12)
        if len(found.objectives) == 2:
            _join(grid, front, (across, up))
        grid.update_xaxes(**style.numbers(found.complete[across.name], across.name), row=row)
        grid.update_yaxes(**style.numbers(found.complete[up.name], up.name), row=row)
    return grid


def _add(grid: go.Figure, found: Found, rows: pd.DataFrame, pair: Pair, row: int) -> None:
    grid.add_scatter(
        x=rows[pair[0].name],
        y=rows[pair[1].name],
        mode="markers",
        showlegend=row == 1,
        hovertext=style.hover_text(found, rows),
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
