"""The figures of a search: scores, curves, dropout, configurations, importances and the Pareto front."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import keras_tuner as kt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from recdrop_tune.catalog import SITES, TECHNIQUES
from recdrop_tune.records import QUESTIONS
from recdrop_tune.results import plot_style as style
from recdrop_tune.results.found import NOT_APPLICABLE, Found
from recdrop_tune.results.frames import learned_rate_columns, metric_column
from recdrop_tune.standing import amount, setting

_LEARNING = [name for name, technique in TECHNIQUES.items() if technique.learns_rate]

_FEW = 6
"""Up to this many values of a hyperparameter have a tick each."""


def figures(found: Found) -> dict[str, go.Figure]:
    """Draws every figure that the search has data for; returns them by name."""
    drawn = {
        "gains": _gains(found),
        "score_by_dropout": _score_by_dropout(found),
        "history": _history(found),
        "parallel_coordinates": _parallel_coordinates(found),
        "importances": _importances(found),
        "curves": _curves(found),
        "pareto": _pareto(found),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _gains(found: Found) -> go.Figure | None:
    """Draws the confirmed gains with their intervals, the best mean on top; `None` without any."""
    if found.confirmation is None:
        return None
    table = found.confirmation.table
    gain = "test_gain" if "test_gain" in table else "gain"
    rows = table[table[f"{gain}_low"].notna()]
    if rows.empty:
        return None
    name = found.objective.name
    metric = f"test_{name.removeprefix('val_')}" if gain == "test_gain" else name
    colors = {"helped": style.BEST, "hurt": style.WORST}
    drawing = style.figure(
        f"Gain of dropout in {style.shown(metric)}, with 95 % intervals",
        height=190 + 44 * len(rows),
    )
    drawing.add_scatter(
        x=rows[gain],
        y=[style.as_text(found.confirmation.names[each]) for each in rows["trial_id"]],
        mode="markers",
        marker={"size": 11, "color": [colors.get(each, style.GREY) for each in rows["outcome"]]},
        error_x={
            "array": rows[f"{gain}_high"] - rows[gain],
            "arrayminus": rows[gain] - rows[f"{gain}_low"],
            "color": style.GREY,
        },
        hovertext=rows["outcome"],
        hoverinfo="x+text",
        showlegend=False,
    )
    drawing.add_vline(0.0, line={"color": style.GREY, "dash": "dash", "width": 2})
    drawing.update_xaxes(title="worse &#8592; the same without dropout &#8594; better")
    drawing.update_yaxes(autorange="reversed", automargin=True, title=None)
    return drawing


def _history(found: Found) -> go.Figure | None:
    """Draws the scores over the search; `None` without scores.

    Trials that were stopped early are hollow, at their best value.
    """
    if found.scored.empty:
        return None
    name = found.objective.name
    drawing = style.figure(f"{style.shown(name)} of each trial")
    complete = found.complete.sort_values("number")
    scores = complete[name]
    drawing.add_scatter(
        x=complete["number"],
        y=scores.cummin() if found.objective.direction == "min" else scores.cummax(),
        mode="lines",
        name="best so far",
        line={"shape": "hv", "color": style.GREY, "width": 2, "dash": "dot"},
        hoverinfo="skip",
    )
    kinds = found.kinds[found.scored.index]
    looks = style.looks(kinds)
    for kind in style.ordered(kinds):
        rows = found.scored[kinds == kind]
        drawing.add_scatter(
            x=rows["number"],
            y=rows[name],
            mode="markers",
            name=style.shown(kind),
            marker=style.markers(looks[kind], rows["state"]),
            hovertext=style.hover_text(found, rows),
            hoverinfo="text",
        )
    drawing.update_xaxes(title=style.title("number"))
    style.show_scores(drawing, found.scored[name], found.objective)
    return drawing


def _curves(found: Found) -> go.Figure | None:
    """Draws the curves, the best trial's thick; `None` if no epoch reported the objective.

    The curve of a trial with several trainings is their mean. Curves of incomplete trials are dotted.
    """
    name, column = found.objective.name, metric_column(found.objective.name)
    if column not in found.history:
        return None
    means = found.history.groupby(["trial_id", "epoch"], sort=False)[column].mean()
    about = found.trials[["trial_id"]].assign(
        kind=found.kinds,
        complete=found.trials["state"] == "COMPLETE",
        text=style.hover_text(found, found.trials),
    )
    points = means.rename("value").reset_index().merge(about, on="trial_id")
    if points["value"].isna().all():
        return None
    drawing = style.figure(f"{style.shown(name)} over the epochs")
    looks = style.looks(found.kinds)
    for kind in style.ordered(points["kind"]):
        for complete in (True, False):
            chosen = points[(points["kind"] == kind) & (points["complete"] == complete)]
            if len(chosen):
                dash = "solid" if complete else "dot"
                line = {"color": looks[kind][0], "width": 1.3, "dash": dash}
                _add_curves(drawing, chosen, kind if complete else f"{kind}, not complete", line)
    # Many curves must be transparent.
    opacity = max(0.35, min(0.9, 14 / len(found.trials)))
    drawing.update_traces(opacity=opacity, selector={"showlegend": False})
    best = None if found.complete.empty else found.complete.iloc[0]
    curve = points[points["trial_id"] == ("" if best is None else best["trial_id"])]
    if best is not None and len(curve):
        # Unknown if the journal lacks the end of the trial, as after a crash.
        star = None if pd.isna(best["best_epoch"]) else best["best_epoch"]
        sizes = [16 if epoch == star else 0 for epoch in curve["epoch"]]
        drawing.add_scatter(
            x=curve["epoch"],
            y=curve["value"],
            mode="lines+markers",
            name=f"best: trial {best['number']}",
            line={"color": looks[curve["kind"].iloc[0]][0], "width": 4},
            marker={"symbol": "star", "size": sizes},
            hovertext=curve["text"],
            hoverinfo="text",
        )
    drawing.update_xaxes(title=style.title("epoch"))
    # The better trials and the median of their start are shown, but not a few outliers.
    axis = style.numbers(points["value"], name)
    ends = style.focus(found.scored[name], found.objective.direction)
    if ends is not None and "type" not in axis:
        start = float(points.groupby("trial_id")["value"].first().median())
        axis["range"] = [min(ends[0], start), max(ends[1], start)]
        style.note_hidden(drawing, "Some curves")
    drawing.update_yaxes(**axis)
    return drawing


def _add_curves(drawing: go.Figure, points: pd.DataFrame, label: str, line: dict[str, Any]) -> None:
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
    # The curves are transparent, their name in the legend is not.
    drawing.add_scatter(x=[None], y=[None], name=label, **look)


def _score_by_dropout(found: Found) -> go.Figure | None:
    """Draws the score over the rate: a panel a placement, a colour a wrapper.

    A line in every panel is the best score without dropout. Layers with their own dropouts have their own
    panels. A learned rate is drawn as it was at the best epoch; the title counts the trials for which it is
    unknown. `None` if no trial with a score has a rate.
    """
    name, points = found.objective.name, _dropout_points(found)
    unknown = points["rate"].isna()
    left_out, points = points.index[unknown].nunique(), points[~unknown]
    if points.empty:
        return None
    known = style.PLACEMENTS

    def rank(panel: str) -> tuple[str, int, str]:
        """Orders the panels: layer by layer, single sites first."""
        layer, _, placement = panel.rpartition("/")
        return layer, known.index(placement) if placement in known else len(known), placement

    panels = sorted(set(points["panel"]), key=rank)
    across = min(len(panels), 4 if len(panels) > 6 else 3)
    down = -(-len(panels) // across)
    learned = points[points["learned"]]
    sites = any(found.column(f"{layer}rate.{site}") for layer in found.layers for site in SITES)
    sites = sites or bool(learned["panel"].str.contains("+", regex=False).any())
    mean = ", the mean of the sites" if sites else ""
    at_best = "" if learned.empty else "; learned ones at the best epoch"
    grid = make_subplots(
        rows=down,
        cols=across,
        subplot_titles=[style.shown(panel) for panel in panels],
        shared_yaxes="all",
        shared_xaxes="all",
        x_title=f"rate: share dropped{mean}{at_best}",
        vertical_spacing=0.28 / down,
        horizontal_spacing=0.03,
    )
    look = style.figure("", height=220 + 250 * down).layout.to_plotly_json()
    grid.layout.template = look.pop("template")  # Updating one part by part takes half a second.
    grid.update_layout(look, margin={"t": 90})
    title = f"{style.shown(name)} by wrapper, placement and rate"
    title += (
        f" (trials left out, for their learned rate is not known: {left_out})" if left_out else ""
    )
    grid.update_layout(title={"text": title})
    _add_points(grid, found, points, panels, across)
    style.show_scores(grid, found.scored[name], found.objective)
    for column in range(2, across + 1):
        grid.update_yaxes(title=None, col=column)
    grid.update_xaxes(rangemode="tozero", showticklabels=True)
    return grid


def _dropout_points(found: Found) -> pd.DataFrame:
    """Returns a row for each layer with dropout of each trial.

    A learned rate is the mean of what the layer has learned by the best epoch. The metrics are named after
    the layer only if several layers learn.
    """
    layers = []
    for layer, wrapper in zip(found.layers, found.wrappers, strict=True):
        own = (layer, "learned_rate.")
        names = [name for name in learned_rate_columns(found.scored) if name.startswith(own)]
        learned = found.scored[names].mean(axis=1).astype("Float64")
        placement = found.column(f"{layer}placement")
        frame = pd.DataFrame(index=found.scored.index)
        frame["wrapper"] = found.scored[wrapper]
        where = found.scored[placement].astype("string") if placement else NOT_APPLICABLE
        frame["panel"] = pd.Series(where, index=frame.index, dtype="string").fillna(NOT_APPLICABLE)
        frame["panel"] = layer + frame["panel"]
        frame["learned"] = frame["wrapper"].isin(_LEARNING)
        frame["rate"] = found.scored[found.rates(layer)].mean(axis=1).astype("Float64")
        frame["rate"] = frame["rate"].mask(frame["learned"], learned)
        drops = frame["rate"].notna() | frame["learned"]
        layers.append(frame[frame["wrapper"].ne("none") & drops])
    columns = ["wrapper", "panel", "learned", "rate"]
    return pd.concat(layers) if layers else pd.DataFrame(columns=columns)


def _add_points(
    grid: go.Figure, found: Found, points: pd.DataFrame, panels: list[str], across: int
) -> None:
    """Adds the trials to the panels, and to each the best score without any dropout, if there is one."""
    name, looks = found.objective.name, style.looks(points["wrapper"])
    ranks = style.ordered(points["wrapper"])
    # Points are moved sideways by wrapper, so that equal rates do not overlap. Learned rates never coincide,
    # and can be so near to 0 that they would be moved below it.
    searched = points[~points["learned"]]
    gaps = searched["rate"].drop_duplicates().sort_values().diff().dropna()
    width = 0.5 * min(float(gaps.min()), 0.05) if len(gaps) else 0.02
    moved = style.ordered(searched["wrapper"])
    middle = (len(moved) - 1) / 2
    aside = {each: (i - middle) / len(moved) * width for i, each in enumerate(moved)}
    without, seen = found.without_dropout[name], set[str]()
    for i, panel in enumerate(panels):
        row, column = divmod(i, across)
        place = {"row": row + 1, "col": column + 1}
        for best in map(float, without.head(1)):
            grid.add_scatter(
                x=[0.0, float(points["rate"].max())],
                y=[best, best],
                mode="lines",
                name="best without dropout",
                legendgroup="best without dropout",
                showlegend=i == 0,
                line={"color": style.GREY, "dash": "dash", "width": 2},
                hovertemplate=f"best without dropout: {amount(best)}<extra></extra>",
                **place,
            )
        inside = points[points["panel"] == panel]
        for wrapper in style.ordered(inside["wrapper"]):
            rates = inside["rate"][inside["wrapper"] == wrapper]
            trials = found.scored.loc[rates.index]
            grid.add_scatter(
                x=rates + aside.get(wrapper, 0.0),
                y=trials[name],
                mode="markers",
                name=style.shown(wrapper),
                legendgroup=style.shown(wrapper),
                legendrank=ranks.index(wrapper),
                showlegend=wrapper not in seen,
                marker=style.markers(looks[wrapper], trials["state"]),
                hovertext=style.hover_text(found, trials),
                hoverinfo="text",
                **place,
            )
            seen.add(wrapper)


def _importances(found: Found) -> go.Figure | None:
    """Draws the importances, the largest on top; `None` if they are unknown."""
    if found.importances is None or found.importances.empty:
        return None
    table = found.importances[::-1]
    shares = table["importance"]
    drawing = style.figure("Importance of each hyperparameter", height=140 + 34 * len(shares))
    drawing.add_bar(
        x=shares.to_list(),
        y=[style.shown(name) for name in shares.index],
        orientation="h",
        marker={"color": [style.BEST if each else style.GREY for each in table["above_chance"]]},
        text=[f"{share:.0%}" for share in shares],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    drawing.update_xaxes(title="share of what makes a trial one of the best", tickformat=".0%")
    drawing.update_yaxes(automargin=True)
    return drawing


def _parallel_coordinates(found: Found) -> go.Figure | None:
    """Draws a line a complete trial, coloured by its score; `None` if there is nothing to compare.

    Constant hyperparameters are left out. Lines pass through "n/a" where a hyperparameter is inactive.
    """
    rows = found.complete
    if rows.empty or not found.varying:
        return None
    # Which dropout, where, how much and when come first.
    names = sorted(found.varying, key=lambda n: n.split("/")[-1].split(".")[0] not in QUESTIONS)
    # Plotly draws the largest colour last, so the best trial lies on top.
    ranks = rows[found.objective.name].rank(ascending=found.objective.direction == "max", pct=True)
    drawing = style.figure("Configurations and their score", height=500)
    columns = [_dimension(rows[name], name, name in found.logarithmic) for name in names]
    for goal in found.objectives:
        # For a loss the axis spreads the small values, for an accuracy the large ones.
        wide = goal.direction == "min" and style.is_wide(rows[goal.name], span=6.0)
        columns.append(_dimension(rows[goal.name], goal.name, wide))
    longest = max(len(word) for word in columns[0]["ticktext"])
    drawing.update_layout(margin={"t": 110, "l": 30 + 7 * longest, "r": 60, "b": 30})
    drawing.add_parcoords(
        dimensions=columns,
        line={"color": ranks, "colorscale": style.SCALE, "cmin": 0.0, "cmax": 1.0},
    )
    return drawing


def _dimension(values: pd.Series[Any], name: str, logarithmic: bool) -> dict[str, Any]:
    """Describes an axis of words or numbers; a missing value is below all others."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return _numbers(values.astype("Float64"), name, logarithmic)
    texts = values.astype(object).fillna(NOT_APPLICABLE).astype(str)
    order = TECHNIQUES if name.split("/")[-1] == "wrapper" else style.PLACEMENTS
    words = sorted(style.ordered(texts, order), key=lambda word: word != NOT_APPLICABLE)
    return {
        "label": style.title(name),
        "values": [words.index(text) for text in texts],
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
        "ticktext": [
            *([NOT_APPLICABLE] if missing else []),
            *(setting(name, tick) for tick in ticks),
        ],
        "range": [below if missing else bottom, top if top > bottom else bottom + 1.0],
    }


def _pareto(found: Found) -> go.Figure | None:
    """Draws a panel for each pair of objectives; `None` if there is one objective only."""
    front, pairs = found.front, list(combinations(found.objectives, 2))
    if not pairs or front.empty:
        return None
    drawing = style.figure("Pareto front", height=100 + 380 * len(pairs))
    grid = make_subplots(rows=len(pairs), cols=1, vertical_spacing=0.2 / len(pairs))
    grid.update_layout(drawing.layout.to_plotly_json())
    others = found.complete[~found.complete["trial_id"].isin(front["trial_id"])]
    for row, (across, up) in enumerate(pairs, start=1):
        for rows, name, colour, symbol, size in (
            (others, "dominated", style.GREY, "circle", 7),
            (front, "not dominated", style.BEST, "diamond", 12),
        ):
            grid.add_scatter(
                x=rows[across.name],
                y=rows[up.name],
                mode="markers",
                name=name,
                legendgroup=name,
                showlegend=row == 1,
                marker={"color": colour, "symbol": symbol, "size": size},
                hovertext=style.hover_text(found, rows),
                hoverinfo="text",
                row=row,
                col=1,
            )
        if len(found.objectives) == 2:
            _add_border(grid, front, across, up)
        grid.update_xaxes(**style.numbers(found.complete[across.name], across.name), row=row)
        grid.update_yaxes(**style.numbers(found.complete[up.name], up.name), row=row)
    return grid


def _add_border(
    grid: go.Figure, front: pd.DataFrame, across: kt.Objective, up: kt.Objective
) -> None:
    """Draws the border of what is dominated: steps from one trial of the front to the next."""
    rows = front.sort_values(across.name)
    shape = "hv" if across.direction == "min" else "vh"
    grid.add_scatter(
        x=rows[across.name],
        y=rows[up.name],
        mode="lines",
        line={"shape": shape, "color": style.BEST, "width": 1.5},
        showlegend=False,
        hoverinfo="skip",
        row=1,
        col=1,
    )
