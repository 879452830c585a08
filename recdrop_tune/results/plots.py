"""The figures of a search: gains, scores, curves, dropout and importances.

Plotly reads texts as HTML, so all of them go through `format_label`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape
from itertools import combinations, product
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.subplots import make_subplots

from recdrop_tune.catalog import SITES, TECHNIQUES
from recdrop_tune.records import Records
from recdrop_tune.results.frames import learned_rate_columns, spread_column
from recdrop_tune.results.intervals import HELPED, HURT, PairedGain
from recdrop_tune.results.paired_trainings import PairedTrainings
from recdrop_tune.results.view import NOT_APPLICABLE, SearchView
from recdrop_tune.standing import format_number, format_value
from recdrop_tune.states import TrialState

_LOOKS = {
    "none": ("#8a8a8a", "circle"),
    "native": ("#e69f00", "square"),
    "recurrent": ("#2f7ed8", "diamond"),
    "variational": ("#009e73", "triangle-up"),
    "weight_drop": ("#cc79a7", "cross"),
    "concrete": ("#7a5cc4", "pentagon"),
    "update": ("#8c564b", "hourglass"),
    "zoneout": ("#d55e00", "triangle-down"),
    "time_distributed": ("#56b4e9", "star"),
    "lambda": ("#a89a00", "hexagon"),
}
"""The colour and the symbol of each technique.

The colours are Okabe and Ito's for colour-blind readers, with replacements for the two that vanish on white
or on black (yellow and black).
"""

GREY, BEST, WORST = (_LOOKS[each][0] for each in ("none", "recurrent", "native"))

_PLACEMENTS = ["+".join(sites) for size in (1, 2, 3) for sites in combinations(SITES, size)]
"""Every placement, single sites first."""

_LEARNING = [name for name, technique in TECHNIQUES.items() if technique.learns_rate]

_SPAN = 30.0
"""Numbers that span this factor need a logarithmic axis: on a linear one, most would lie on one line."""

_FAR = 4.0
"""The worst scores are not shown at first if they are this many times as far from the best as the third
quartile is: a few outliers would press all others together."""

_LONGEST = 60
"""The longest text of a value, in characters."""


class Figure(go.Figure):
    """A Plotly figure that a notebook exported to HTML shows too."""

    def show(self, renderer: str | None = None, **options: Any) -> None:
        """Shows the figure; see `plotly.io.show`."""
        # Plotly's default in a notebook is a form for JupyterLab or VS Code alone, and blank in an exported
        # page. So HTML is added that loads plotly.js from Plotly's CDN: a copy would add 5 MB.
        default = pio.renderers.default
        if renderer is None and default in _FRONTENDS:
            renderer = f"{default}+notebook_connected"
        super().show(renderer, **options)

    def _ipython_display_(self) -> None:
        if pio.renderers.render_on_display and pio.renderers.default in _FRONTENDS:
            self.show()
        else:
            super()._ipython_display_()


_FRONTENDS = ("plotly_mimetype", "vscode")
"""Plotly's default renderers in notebooks that only draw figures in the frontend."""


def figures(view: SearchView) -> dict[str, go.Figure]:
    """Draws every figure that the search has data for; returns them by name."""
    drawn = {
        "gains": _gains(view),
        "score_by_dropout": _score_by_dropout(view),
        "history": _history(view),
        "importances": _importances(view),
        "curves": _curves(view),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


# Texts, colours and axes.


def format_label(value: object, name: str = "") -> str:
    """Writes a value for a figure; see `format_value`. Quotes stay: Plotly does not know all entities."""
    text = format_value(name, value)
    return escape(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…", quote=False)


def _figure(title: str, height: int = 460) -> go.Figure:
    """Makes an empty figure in the look that all of them share."""
    return Figure(
        layout={
            "template": pio.templates["plotly_white"],
            "font": {"family": "system-ui, sans-serif", "size": 13},
            "title": {"text": title},
            "height": height,
            "margin": {"l": 70, "r": 20, "t": 60, "b": 60},
            "hoverlabel": {"align": "left"},
            "hovermode": "closest",
            "legend": {"tracegroupgap": 0},
        }
    )


def looks(kinds: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Returns a colour and a symbol for each of `SearchView.kinds`; techniques keep theirs."""
    others = [kind for kind in dict.fromkeys(kinds) if kind not in _LOOKS]
    # With several layers, most kinds are pairs. Grey is reserved for no dropout.
    spare = [look for name, look in _LOOKS.items() if name != "none"]
    return {**_LOOKS, **{kind: spare[i % len(spare)] for i, kind in enumerate(others)}}


def _ordered(words: Iterable[str], known: Iterable[str] = TECHNIQUES) -> list[str]:
    """Orders words for a legend or an axis: known ones (techniques) in their order, then the others."""
    ranks = {word: rank for rank, word in enumerate(known)}
    return sorted(set(words), key=lambda word: (ranks.get(word, len(ranks)), word))


def _markers(look: tuple[str, str], states: Iterable[str]) -> dict[str, Any]:
    """Describes the points of trials with one colour and symbol; incomplete ones are hollow."""
    colour, symbol = look
    symbols = [symbol if state == TrialState.COMPLETE else f"{symbol}-open" for state in states]
    return {"color": colour, "symbol": symbols, "size": 8, "line": {"width": 1.5, "color": colour}}


def _hover_text(view: SearchView, rows: pd.DataFrame) -> list[str]:
    """Writes the text under the cursor: the trial, its scores, its configuration."""
    names = [view.objective, spread_column(view.objective), *view.columns.values()]
    names += [*learned_rate_columns(rows), "best_epoch", "epochs", "seconds"]
    names = [each for each in dict.fromkeys(names) if each in rows]
    texts = []
    for number, state, *values in rows[["number", "state", *names]].itertuples(index=False):
        lines = [
            f"{format_label(name)}: {format_label(value, name)}"
            for name, value in zip(names, values, strict=True)
            if not pd.isna(value)
        ]
        texts.append("<br>".join([f"<b>trial {number}</b>, {format_label(state.lower())}", *lines]))
    return texts


def _add_trials(
    drawing: go.Figure, view: SearchView, rows: pd.DataFrame, x: pd.Series[Any], **look: Any
) -> None:
    """Adds a point for each of some trials."""
    y, texts = rows[view.objective], _hover_text(view, rows)
    drawing.add_scatter(x=x, y=y, mode="markers", hovertext=texts, hoverinfo="text", **look)


def _axis(values: pd.Series[Any], name: str) -> dict[str, Any]:
    """Describes the axis of a column of numbers."""
    numbers = values.dropna().astype(float)
    numbers = numbers[numbers.abs() < math.inf]  # A diverged training has an infinite loss.
    low, high = numbers.min(), numbers.max()
    if not 0 < low < high / _SPAN:
        return {"title": {"text": format_label(name)}}
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if len(powers) <= 5 else (1,)
    marks = [float(f"{digit}e{power}") for power in powers for digit in digits]
    marks = [mark for mark in marks if low <= mark <= high]
    marks = marks if len(marks) > 1 else [low, high]
    return {
        "title": {"text": f"{format_label(name)} (log scale)"},
        "type": "log",
        "tickvals": marks,
        "ticktext": [f"{mark:.4g}" for mark in marks],  # Plotly would write 2 for 0.2.
    }


def focus(scores: pd.Series[Any], records: Records) -> tuple[float, float] | None:
    """Returns the range of a score's axis with the better scores; `None` if none is far outside."""
    costs = records.cost(scores.dropna().astype(float))
    best = costs.min()
    reach = _FAR * (costs.quantile(0.75) - best)
    if not reach > 0 or not math.isfinite(reach) or costs.max() <= best + reach:
        return None
    ends = [records.cost(float(cost)) for cost in (best - 0.06 * reach, best + reach)]
    return min(ends), max(ends)


def show_scores(drawing: go.Figure, scores: pd.Series[Any], records: Records) -> None:
    """Sets the y axes of a figure of scores, and notes that some are out of sight at first."""
    ends = focus(scores, records)
    inside = scores if ends is None else scores[scores.between(*ends)]
    axis = _axis(inside, records.objective)
    if ends is not None:
        low, high = ends if "type" not in axis else (0.9 * inside.min(), 1.1 * inside.max())
        axis["range"] = [math.log10(low), math.log10(high)] if "type" in axis else [low, high]
        drawing.add_annotation(
            text="Worse scores<br>out of sight:<br>double-click to<br>see all",
            showarrow=False,
            font={"size": 12},
            align="left",
            x=1.02,
            y=0.0,
            xref="paper",
            yref="paper",
            xanchor="left",
            yanchor="bottom",
        )
    drawing.update_yaxes(**axis)


# The figures.


def _gains(view: SearchView) -> go.Figure | None:
    """Draws the confirmed gains with their intervals, in the order of the table; `None` without any."""
    if view.confirmation is None:
        return None
    gains = _proven(view.confirmation)
    if not gains:
        return None
    title = f"Gain of dropout in {format_label(view.confirmation.metric)}, with 95 % intervals"
    drawing = _figure(title, 190 + 44 * len(gains))
    _add_gains(drawing, view.confirmation, gains)
    drawing.update_yaxes(autorange="reversed", automargin=True, title=None)
    return drawing


def _proven(trainings: PairedTrainings) -> dict[str, PairedGain]:
    """Returns the gains in `metric` that have an interval, in the order of the table."""
    gains = {name: trainings.judged[name] for name in trainings.ids if name in trainings.judged}
    return {name: gain for name, gain in gains.items() if not math.isnan(gain.low)}


def _add_gains(
    drawing: go.Figure, trainings: PairedTrainings, gains: Mapping[str, PairedGain], **place: int
) -> None:
    """Adds gains with their intervals: blue is better, orange worse."""
    outcomes = [gain.outcome for gain in gains.values()]
    base = escape(trainings.asked.base, quote=False)
    drawing.add_scatter(
        x=[gain.gain for gain in gains.values()],
        # Not `format_label`: two long names could be cut to one.
        y=[escape(trainings.names[name], quote=False) for name in gains],
        mode="markers",
        marker={
            "size": 11,
            "color": [{HELPED: BEST, HURT: WORST}.get(each, GREY) for each in outcomes],
        },
        error_x={
            "array": [gain.high - gain.gain for gain in gains.values()],
            "arrayminus": [gain.gain - gain.low for gain in gains.values()],
            "color": GREY,
        },
        hovertext=[trainings.asked.words.get(each, each) for each in outcomes],
        hoverinfo="x+text",
        showlegend=False,
        **place,
    )
    drawing.add_vline(0.0, line={"color": GREY, "dash": "dash", "width": 2}, **place)
    drawing.update_xaxes(title=f"worse &#8592; {base} &#8594; better", **place)


def comparison_figure(comparison: PairedTrainings) -> go.Figure:
    """Draws the score of each training of each model, and below the gains over the baseline."""
    metric, models, runs = comparison.metric, comparison.table["model"], comparison.runs
    gains = _proven(comparison)
    grid = make_subplots(
        rows=2,
        cols=1,
        vertical_spacing=0.3,
        row_heights=[len(models) + 1, max(1, len(gains)) + 1],
        figure=_figure(
            f"{format_label(metric)} of each training, and the gains with 95 % intervals",
            320 + 44 * (len(models) + len(gains)),
        ),
    )
    for name in models:
        own = runs[runs["model"] == name]
        grid.add_scatter(
            x=own[metric],
            y=[escape(name, quote=False)] * len(own),
            mode="markers",
            marker={"size": 9, "color": GREY, "opacity": 0.7},
            hovertext=[f"seed {seed}" for seed in own["seed"]],
            hoverinfo="x+text",
            showlegend=False,
            row=1,
            col=1,
        )
    grid.update_xaxes(**_axis(runs[metric], metric), row=1, col=1)
    _add_gains(grid, comparison, gains, row=2, col=1)
    grid.update_yaxes(autorange="reversed", automargin=True, title=None)
    return grid


def _history(view: SearchView) -> go.Figure | None:
    """Draws the scores over the search, those of pruned trials hollow; `None` without scores."""
    if view.scored.empty:
        return None
    name = view.objective
    drawing = _figure(f"{format_label(name)} of each trial")
    complete = view.complete.sort_values("number")
    drawing.add_scatter(
        x=complete["number"],
        y=view.records.cost(view.records.cost(complete[name]).cummin()),
        mode="lines",
        name="best so far",
        line={"shape": "hv", "color": GREY, "width": 2, "dash": "dot"},
        hoverinfo="skip",
    )
    kinds = view.kinds[view.scored.index]
    for kind in _ordered(kinds):
        rows = view.scored[kinds == kind]
        look = {"name": format_label(kind), "marker": _markers(looks(kinds)[kind], rows["state"])}
        _add_trials(drawing, view, rows, rows["number"], **look)
    drawing.update_xaxes(title="trial, in the order of starts")
    show_scores(drawing, view.scored[name], view.records)
    return drawing


def _curves(view: SearchView) -> go.Figure | None:
    """Draws the curves, the best trial's thick; `None` if no epoch reported the objective."""
    name = view.objective
    if name not in view.history or view.history[name].isna().all():
        return None
    means = view.history.groupby(["trial_id", "epoch"], sort=False)[name].mean()
    about = view.trials[["trial_id"]].assign(
        kind=view.kinds,
        complete=view.trials["state"] == TrialState.COMPLETE,
        text=_hover_text(view, view.trials),
    )
    points = means.rename("value").reset_index().merge(about, on="trial_id")
    drawing = _figure(f"{format_label(name)} over the epochs")
    colours = {kind: colour for kind, (colour, _) in looks(view.kinds).items()}
    groups = dict(iter(points.groupby(["kind", "complete"])))
    for kind, complete in product(_ordered(points["kind"]), (True, False)):
        if (kind, complete) not in groups:
            continue
        # One trace for many trials, with gaps between them.
        x, y, texts = list[Any](), list[Any](), list[Any]()
        for _, curve in groups[kind, complete].groupby("trial_id", sort=False):
            x += [*curve["epoch"], None]
            y += [*(None if pd.isna(value) else value for value in curve["value"]), None]
            texts += [*curve["text"], None]
        drawing.add_scatter(
            x=x,
            y=y,
            mode="lines",
            name=format_label(kind if complete else f"{kind}, not complete"),
            line={
                "color": colours[kind],
                "width": 2.0 if complete else 1.0,
                "dash": "solid" if complete else "dot",
            },
            # Many curves must be transparent.
            opacity=max(0.35, min(0.9, 14 / len(view.trials))),
            hovertext=texts,
            hoverinfo="text",
        )
    best = None if view.complete.empty else view.complete.iloc[0]
    curve = points[points["trial_id"] == ("" if best is None else best["trial_id"])]
    if best is not None and len(curve):
        # Unknown if the journal lacks the end of the trial, as after a crash.
        star = None if pd.isna(best["best_epoch"]) else best["best_epoch"]
        drawing.add_scatter(
            x=curve["epoch"],
            y=curve["value"],
            mode="lines+markers",
            name=f"best: trial {best['number']}",
            line={"color": colours[curve["kind"].iloc[0]], "width": 4},
            marker={"symbol": "star", "size": [16 if e == star else 0 for e in curve["epoch"]]},
            hovertext=curve["text"],
            hoverinfo="text",
        )
    drawing.update_xaxes(title="epoch, from 0")
    show_scores(drawing, points["value"], view.records)
    return drawing


def _score_by_dropout(view: SearchView) -> go.Figure | None:
    """Draws the score over the rate, a panel per placement, a colour per wrapper; `None` without rates."""
    name, points = view.objective, _dropout_points(view)
    if points.empty:
        return None
    panels = _ordered(points["panel"], _PLACEMENTS)
    across = min(len(panels), 4 if len(panels) > 6 else 3)
    down = -(-len(panels) // across)
    grid = make_subplots(
        rows=down,
        cols=across,
        subplot_titles=[format_label(panel) for panel in panels],
        shared_yaxes="all",
        shared_xaxes="all",
        x_title="rate: share dropped",
        vertical_spacing=0.28 / down,
        horizontal_spacing=0.03,
        figure=_figure(f"{format_label(name)} by wrapper, placement and rate", 220 + 250 * down),
    )
    grid.update_layout(margin_t=90)
    wrappers, without = _ordered(points["wrapper"]), view.without_dropout[name]
    for i, panel in enumerate(panels):
        place = {"row": i // across + 1, "col": i % across + 1}
        for best in map(float, without.head(1)):
            grid.add_scatter(
                x=[0.0, float(points["rate"].max())],
                y=[best, best],
                mode="lines",
                name="best without dropout",
                legendgroup="best without dropout",
                showlegend=i == 0,
                line={"color": GREY, "dash": "dash", "width": 2},
                hovertemplate=f"best without dropout: {format_number(best)}<extra></extra>",
                **place,
            )
        for rank, wrapper in enumerate(wrappers):
            own = points[points["wrapper"] == wrapper]
            rates = own["rate"][own["panel"] == panel]
            trials = view.scored.loc[rates.index]
            if len(rates):
                _add_trials(
                    grid,
                    view,
                    trials,
                    rates,
                    name=format_label(wrapper),
                    legendgroup=format_label(wrapper),
                    legendrank=rank,
                    showlegend=panel == _ordered(own["panel"], _PLACEMENTS)[0],
                    marker=_markers(looks(wrappers)[wrapper], trials["state"]),
                    **place,
                )
    show_scores(grid, view.scored[name], view.records)
    for column in range(2, across + 1):
        grid.update_yaxes(title=None, col=column)
    grid.update_xaxes(rangemode="tozero", showticklabels=True)
    return grid


def _dropout_points(view: SearchView) -> pd.DataFrame:
    """Returns one row per trial and layer with dropout whose rate is known; if learned, at the best epoch."""
    layers, scored = [], view.scored
    for name, wrapper in zip(view.offered, view.wrappers, strict=True):
        layer = name.removesuffix("wrapper")
        # Named after the layer only if several layers learn.
        begins = layer, "learned_rate."
        learned = [each for each in learned_rate_columns(scored) if each.startswith(begins)]
        keys = ["rate", *(f"rate.{site}" for site in SITES)]
        rates = [view.columns.get(f"{layer}{key}") for key in keys]
        # A user-defined `rate` can be a word.
        rates = [each for each in rates if each and scored[each].dtype.kind in "if"]
        placement = view.columns.get(f"{layer}placement")
        frame = pd.DataFrame({"wrapper": scored[wrapper], "panel": NOT_APPLICABLE})
        if placement:
            frame["panel"] = scored[placement].astype("string").fillna(NOT_APPLICABLE)
        frame["panel"] = layer + frame["panel"]
        frame["rate"] = scored[rates].mean(axis=1).astype("Float64")
        at_best = scored[learned].mean(axis=1).astype("Float64")
        frame["rate"] = frame["rate"].mask(frame["wrapper"].isin(_LEARNING), at_best)
        layers.append(frame[frame["wrapper"].ne("none") & frame["rate"].notna()])
    return pd.concat(layers) if layers else pd.DataFrame()


def _importances(view: SearchView) -> go.Figure | None:
    """Draws the importances, the largest on top; `None` if they are unknown."""
    if view.importances is None or view.importances.empty:
        return None
    shares = view.importances[::-1]
    drawing = _figure("Importance of each hyperparameter", 140 + 34 * len(shares))
    drawing.add_bar(
        x=shares.to_list(),
        y=[format_label(name) for name in shares.index],
        orientation="h",
        marker={"color": BEST},
        text=[f"{share:.0%}" for share in shares],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    drawing.update_xaxes(title="share of what makes a trial one of the best", tickformat=".0%")
    drawing.update_yaxes(automargin=True)
    return drawing
