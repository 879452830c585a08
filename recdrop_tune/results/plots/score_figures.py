"""The score of the trials: in their order, over the epochs, and by wrapper, placement and rate."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from recdrop_tune.catalog import SITES, TECHNIQUES
from recdrop_tune.results.found import NOT_APPLICABLE, Found
from recdrop_tune.results.frames import learned_rate_columns, metric_column
from recdrop_tune.results.plots import style


def history(found: Found) -> go.Figure | None:
    """Draws the scores over the search; `None` without scores.

    Trials that were stopped early are hollow, at their best value.
    """
    if found.scored.empty:
        return None
    name = found.objective.name
    drawing = style.figure(f"{style.shown(name)} of each trial")
    _add_best_so_far(drawing, found)
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


def _add_best_so_far(drawing: go.Figure, found: Found) -> None:
    rows, name = found.complete.sort_values("number"), found.objective.name
    scores = rows[name].cummin() if found.objective.direction == "min" else rows[name].cummax()
    drawing.add_scatter(
        x=rows["number"],
        y=scores,
        mode="lines",
        name="best so far",
        line={"shape": "hv", "color": style.GREY, "width": 2, "dash": "dot"},
        hoverinfo="skip",
    )


def curves(found: Found) -> go.Figure | None:
    """Draws the curves, the best trial's thick; `None` if no epoch reported the objective.

    The curve of a trial with several trainings is their mean. Curves of incomplete trials are dotted.
    """
    points = _curve_points(found)
    if points["value"].isna().all():
        return None
    drawing = style.figure(f"{style.shown(found.objective.name)} over the epochs")
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
    _add_best_curve(drawing, found, points)
    drawing.update_xaxes(title=style.title("epoch"))
    _show_most(drawing, found, points)
    return drawing


def _curve_points(found: Found) -> pd.DataFrame:
    """Returns a row for each epoch of each trial, with the texts about the trial."""
    name, keys = metric_column(found.objective.name), ["trial_id", "epoch"]
    if name not in found.history:
        return pd.DataFrame({"value": []})
    values = found.history.groupby(keys, sort=False)[name].mean().rename("value").reset_index()
    said = found.trials[["trial_id"]].assign(
        kind=found.kinds,
        complete=found.trials["state"] == "COMPLETE",
        text=style.hover_text(found, found.trials),
    )
    return values.merge(said, on="trial_id")


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


def _add_best_curve(drawing: go.Figure, found: Found, points: pd.DataFrame) -> None:
    if found.complete.empty:
        return
    best = found.complete.iloc[0]
    curve = points[points["trial_id"] == best["trial_id"]]
    if curve.empty:
        return
    # Unknown if the journal lacks the end of the trial, as after a crash.
    star = None if pd.isna(best["best_epoch"]) else best["best_epoch"]
    sizes = [16 if epoch == star else 0 for epoch in curve["epoch"]]
    drawing.add_scatter(
        x=curve["epoch"],
        y=curve["value"],
        mode="lines+markers",
        name=f"best: trial {best['number']}",
        line={"color": style.looks(found.kinds)[curve["kind"].iloc[0]][0], "width": 4},
        marker={"symbol": "star", "size": sizes},
        hovertext=curve["text"],
        hoverinfo="text",
    )


def _show_most(drawing: go.Figure, found: Found, points: pd.DataFrame) -> None:
    """Shows the better trials and the median of their start, but not a few outliers."""
    axis = style.numbers(points["value"], found.objective.name)
    ends = style.focus(found.scored[found.objective.name], found.objective.direction)
    if ends is not None and "type" not in axis:
        start = float(points.groupby("trial_id")["value"].first().median())
        axis["range"] = [min(ends[0], start), max(ends[1], start)]
        style.note_hidden(drawing, "Some curves")
    drawing.update_yaxes(**axis)


def score_by_dropout(found: Found) -> go.Figure | None:
    """Draws the score over the rate: a panel a placement, a colour a wrapper.

    A line in every panel is the best score without dropout. Layers with their own dropouts have their own
    panels. A learned rate is drawn as it was at the best epoch; the title counts the trials for which it is
    unknown. `None` if no trial with a score has a rate.
    """
    points = _dropout_points(found)
    unknown = points["rate"].isna()
    left_out, points = points.index[unknown].nunique(), points[~unknown]
    if points.empty:
        return None
    panels = sorted(set(points["panel"]), key=_rank)
    across = min(len(panels), 4 if len(panels) > 6 else 3)
    grid = _grid(panels, across, _rate_title(found, points))
    title = f"{style.shown(found.objective.name)} by wrapper, placement and rate"
    title += (
        f" (trials left out, for their learned rate is not known: {left_out})" if left_out else ""
    )
    grid.update_layout(title={"text": title})
    _add_points(grid, found, points, panels, across)
    style.show_scores(grid, found.scored[found.objective.name], found.objective)
    for column in range(2, across + 1):
        grid.update_yaxes(title=None, col=column)
    grid.update_xaxes(rangemode="tozero", showticklabels=True)
    return grid


def _grid(panels: list[str], across: int, rate_title: str) -> go.Figure:
    """Makes the empty panels, `across` in a row."""
    down = -(-len(panels) // across)
    grid = make_subplots(
        rows=down,
        cols=across,
        subplot_titles=[style.shown(panel) for panel in panels],
        shared_yaxes="all",
        shared_xaxes="all",
        x_title=rate_title,
        vertical_spacing=0.28 / down,
        horizontal_spacing=0.03,
    )
    look = style.figure("", height=220 + 250 * down).layout.to_plotly_json()
    grid.layout.template = look.pop("template")  # Updating one part by part takes half a second.
    grid.update_layout(look, margin={"t": 90})
    return grid


def _dropout_points(found: Found) -> pd.DataFrame:
    """Returns a row for each layer with dropout of each trial."""
    layers = []
    for layer, wrapper in zip(found.layers, found.wrappers, strict=True):
        placement = found.column(f"{layer}placement")
        frame = pd.DataFrame(index=found.scored.index)
        frame["wrapper"] = found.scored[wrapper]
        where = found.scored[placement].astype("string") if placement else NOT_APPLICABLE
        frame["panel"] = pd.Series(where, index=frame.index, dtype="string").fillna(NOT_APPLICABLE)
        frame["panel"] = layer + frame["panel"]
        frame["learned"] = frame["wrapper"].isin(_LEARNING)
        frame["rate"] = found.scored[found.rates(layer)].mean(axis=1).astype("Float64")
        frame["rate"] = frame["rate"].mask(frame["learned"], _learned_rates(found, layer))
        drops = frame["rate"].notna() | frame["learned"]
        layers.append(frame[frame["wrapper"].ne("none") & drops])
    columns = ["wrapper", "panel", "learned", "rate"]
    return pd.concat(layers) if layers else pd.DataFrame(columns=columns)


_LEARNING = [name for name, technique in TECHNIQUES.items() if technique.learns_rate]


def _learned_rates(found: Found, layer: str) -> pd.Series[float]:
    """Returns the mean of the rates that a layer has learned in each trial, at its best epoch.

    The metrics are named after the layer only if several layers learn.
    """
    own = (layer, "learned_rate.")
    names = [name for name in learned_rate_columns(found.scored) if name.startswith(own)]
    return found.scored[names].mean(axis=1).astype("Float64")


def _add_points(
    grid: go.Figure, found: Found, points: pd.DataFrame, panels: list[str], across: int
) -> None:
    looks, ranks = style.looks(points["wrapper"]), style.ordered(points["wrapper"])
    searched, seen = points[~points["learned"]], set[str]()
    # Learned rates never coincide, and can be so near to 0 that they would be moved below it.
    aside = _aside(searched["rate"], style.ordered(searched["wrapper"]))
    for i, panel in enumerate(panels):
        row, column = divmod(i, across)
        place = {"row": row + 1, "col": column + 1}
        _add_baseline(grid, found, points, place)
        inside = points[points["panel"] == panel]
        for wrapper in style.ordered(inside["wrapper"]):
            rates = inside["rate"][inside["wrapper"] == wrapper]
            trials = found.scored.loc[rates.index]
            grid.add_scatter(
                x=rates + aside.get(wrapper, 0.0),
                y=trials[found.objective.name],
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


def _aside(rates: pd.Series[float], wrappers: list[str]) -> dict[str, float]:
    """Returns how far the points of each wrapper are moved sideways, so that equal rates do not overlap."""
    gaps = rates.drop_duplicates().sort_values().diff().dropna()
    width = 0.5 * min(float(gaps.min()), 0.05) if len(gaps) else 0.02
    middle = (len(wrappers) - 1) / 2
    return {name: (i - middle) / len(wrappers) * width for i, name in enumerate(wrappers)}


def _add_baseline(
    grid: go.Figure, found: Found, points: pd.DataFrame, place: dict[str, int]
) -> None:
    """Draws the best score without any dropout, if there is one."""
    if found.without_dropout.empty:
        return
    best = float(found.without_dropout[found.objective.name].iloc[0])
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


def _rate_title(found: Found, points: pd.DataFrame) -> str:
    sites = any(found.column(f"{layer}rate.{site}") for layer in found.layers for site in SITES)
    learned = points[points["learned"]]
    sites = sites or bool(learned["panel"].str.contains("+", regex=False).any())
    mean = ", the mean of the sites" if sites else ""
    return f"rate: share dropped{mean}{'' if learned.empty else '; learned ones at the best epoch'}"
