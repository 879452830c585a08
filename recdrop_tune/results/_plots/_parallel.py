"""All hyperparameters of all trials beside the score: parallel coordinates."""

from __future__ import annotations

import math
from typing import Any

import keras_tuner as kt
import pandas as pd
import plotly.graph_objects as go

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.results._plots import _axes as axes
from recdrop_tune.results._plots import _style as style
from recdrop_tune.results._plots._view import NOT_APPLICABLE, View
from recdrop_tune.tracking._records import QUESTIONS

# So many values have a tick each.
_FEW = 6


def parallel_coordinates(view: View) -> go.Figure | None:
    """Draws a line a complete trial, coloured by its score; `None` if there is nothing to compare.

    Hyperparameters that are the same in all trials are left out. Where one is inactive its line
    passes through "n/a".
    """
    rows, names = view.complete, _by_question(view.varying)
    if rows.empty or not names:
        return None
    # What is drawn later lies on top, and Plotly draws the largest colour last: the best trial.
    ranks = rows[view.objective.name].rank(ascending=view.objective.direction == "max", pct=True)
    drawing = style.figure("Configurations and their score", height=500)
    columns = [_dimension(rows[name], name, name in view.logarithmic) for name in names]
    columns += [_score(rows[each.name], each) for each in view.objectives]
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
    # Of a loss the small values are told apart; of an accuracy the large ones.
    wide = objective.direction == "min" and axes.is_wide(values, span=6.0)
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
        "label": axes.title(name),
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
    ticks = few if 1 < len(few) <= _FEW else axes.ticks(low, high, logarithmic)
    place = math.log10 if logarithmic else float
    bottom, top = place(min(low, ticks[0])), place(max(high, ticks[-1]))
    below = bottom - 0.15 * ((top - bottom) or 1.0)
    missing = bool(values.isna().any())
    return {
        "label": axes.title(name, logarithmic),
        "values": [below if pd.isna(value) else place(value) for value in values],
        "tickvals": [*([below] if missing else []), *(place(tick) for tick in ticks)],
        "ticktext": [*([NOT_APPLICABLE] if missing else []), *(f"{tick:.4g}" for tick in ticks)],
        "range": [below if missing else bottom, top if top > bottom else bottom + 1.0],
    }
