"""How the figures look: colours, symbols, axes and the text under the cursor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from itertools import combinations
from typing import Any

import keras_tuner as kt
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

from recdrop_tune.catalog import SITES, TECHNIQUES
from recdrop_tune.results.found import Found
from recdrop_tune.results.frames import learned_rate_columns, spread_column
from recdrop_tune.standing import setting

# Axes: titles with units, scales, ticks, and the range shown at first.

_UNITS = {
    "number": "trial, in the order of starts",
    "epoch": "epoch, from 0",
    "rate": "rate: share dropped",
    "seconds": "seconds of the whole trial",
    "n_params": "parameters of the model",
    "ms_per_step": "milliseconds per training step",
}

# Numbers that span this factor need a logarithmic axis: on a linear one, all but the largest would lie on
# one line.
_SPAN = 30.0

# The worst trials are not shown at first if they are this many times as far from the best as the third
# quartile is: a few outliers would press all others together.
_FAR = 4.0


def as_text(words: str) -> str:
    """Escapes text for Plotly, which reads HTML. Quotes stay: it does not know all entities."""
    return escape(words, quote=False)


def title(name: str, logarithmic: bool = False) -> str:
    """Returns the title of an axis: its column, with a unit if known."""
    words = as_text(_UNITS.get(name, name))
    return f"{words} (log scale)" if logarithmic else words


def is_wide(values: pd.Series[Any], span: float = _SPAN) -> bool:
    """Returns whether only a logarithmic axis shows all numbers."""
    numbers = finite(values)
    return bool(len(numbers) and numbers.min() > 0 and numbers.max() / span > numbers.min())


def finite(values: pd.Series[Any]) -> pd.Series[float]:
    """Leaves out missing values, and the infinite losses of diverged trainings."""
    numbers = values.dropna().astype(float)
    return numbers[numbers.abs() < math.inf]


def numbers(values: pd.Series[Any], name: str) -> dict[str, Any]:
    """Describes the axis of a column of numbers."""
    if not is_wide(values):
        return {"title": {"text": title(name)}}
    low, high = finite(values).min(), finite(values).max()
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]
    marks = [mark for mark in marks if 0 < mark < math.inf]
    texts = [f"{mark:.4g}" for mark in marks]  # Plotly would write 2 for 0.2.
    axis = {"title": {"text": title(name, True)}, "type": "log"}
    return {**axis, "tickvals": marks, "ticktext": texts}


def focus(scores: pd.Series[Any], direction: str) -> tuple[float, float] | None:
    """Returns the range of a score's axis with the better trials; `None` if no trial is far outside."""
    sign = 1.0 if direction == "min" else -1.0
    costs = sign * scores.dropna().astype(float)
    best = costs.min()
    reach = _FAR * (costs.quantile(0.75) - best)
    if not reach > 0 or not math.isfinite(reach) or costs.max() <= best + reach:
        return None
    ends = (sign * float(best - 0.06 * reach), sign * float(best + reach))
    return min(ends), max(ends)


def show_scores(drawing: go.Figure, scores: pd.Series[Any], objective: kt.Objective) -> None:
    """Sets the y axes of a figure of scores, and notes how many trials are out of sight at first."""
    ends = focus(scores, objective.direction)
    inside = scores if ends is None else scores[scores.between(*ends)]
    axis = numbers(inside, objective.name)
    if ends is not None:
        low, high = ends if "type" not in axis else (0.9 * inside.min(), 1.1 * inside.max())
        axis["range"] = [math.log10(low), math.log10(high)] if "type" in axis else [low, high]
        note_hidden(drawing, f"{len(scores) - len(inside)} worse trials")
    drawing.update_yaxes(**axis)


def note_hidden(drawing: go.Figure, what: str) -> None:
    """Adds a note below the legend on what is out of sight at first."""
    drawing.add_annotation(
        text=f"{what}<br>out of sight:<br>double-click to<br>see all",
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


def ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Picks round numbers between two, or the two themselves."""
    if logarithmic:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        steps = (1.0, 2.0, 5.0) if len(powers) <= 3 else (1.0, 3.0) if len(powers) <= 5 else (1.0,)
        found = [step * 10.0**power for power in powers for step in steps]
    else:
        size = 10.0 ** math.floor(math.log10((high - low) / 4 or 1.0))
        step = next(size * each for each in (1, 2, 5, 10) if (high - low) / (size * each) <= 6)
        found = [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    inside = [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    return inside if len(inside) > 1 else sorted({low, high})


# Okabe and Ito's colours for colour-blind readers, the two that vanish on white or on black (yellow
# and black) replaced. Every technique has its own symbol too.
_COLOURS = {
    "none": "#8a8a8a",
    "native": "#e69f00",
    "recurrent": "#2f7ed8",
    "variational": "#009e73",
    "weight_drop": "#cc79a7",
    "concrete": "#7a5cc4",
    "zoneout": "#d55e00",
    "time_distributed": "#56b4e9",
    "lambda": "#a89a00",
}
PLACEMENTS = ["+".join(sites) for size in (1, 2, 3) for sites in combinations(SITES, size)]
"""Every placement, single sites first."""

_SYMBOLS = [
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "cross",
    "pentagon",
    "triangle-down",
    "star",
    "hexagon",
]

GREY = "#8a8a8a"
BEST, WORST = _COLOURS["recurrent"], _COLOURS["native"]
SCALE = [[0.0, _COLOURS["native"]], [0.5, "#a5a5a5"], [1.0, _COLOURS["recurrent"]]]
"""From the worst to the best: orange, grey, blue."""

_LONGEST = 60


def figure(title: str, **layout: Any) -> go.Figure:
    """Makes an empty figure in the look that all of them share."""
    look = {
        "template": pio.templates["plotly_white"],
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "title": {"text": title},
        "height": 460,
        "margin": {"l": 70, "r": 20, "t": 60, "b": 60},
        "hoverlabel": {"align": "left"},
        "hovermode": "closest",
        "legend": {"tracegroupgap": 0},
    }
    return go.Figure(layout={**look, **layout})


def looks(kinds: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Returns a colour and a symbol for each of `Found.kinds`; techniques have the same in every search."""
    own = {name: (_COLOURS[name], _SYMBOLS[i]) for i, name in enumerate(TECHNIQUES)}
    others = [kind for kind in dict.fromkeys(kinds) if kind not in own]
    # With several layers, most kinds are pairs. Grey is reserved for no dropout.
    spare = [look for name, look in own.items() if name != "none"]
    return {**own, **{kind: spare[i % len(spare)] for i, kind in enumerate(others)}}


def ordered(words: Iterable[str], known: Iterable[str] = TECHNIQUES) -> list[str]:
    """Orders words for a legend or an axis: known ones (techniques) in their order, then the others."""
    ranks = {word: rank for rank, word in enumerate(known)}
    return sorted(set(words), key=lambda word: (ranks.get(word, len(ranks)), word))


def markers(look: tuple[str, str], states: Iterable[str]) -> dict[str, Any]:
    """Describes the points of trials with one colour and symbol; incomplete ones are hollow."""
    colour, symbol = look
    symbols = [symbol if state == "COMPLETE" else f"{symbol}-open" for state in states]
    line = {"width": 1.5, "color": colour}
    return {"color": colour, "symbol": symbols, "size": 8, "line": line}


def shown(value: object, name: str = "") -> str:
    """Writes a value for a figure, safe in the HTML that Plotly reads; see `setting`."""
    text = setting(name, value)
    return as_text(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")


def hover_text(found: Found, rows: pd.DataFrame) -> list[str]:
    """Writes the text under the cursor: the trial, its scores, its configuration."""
    names = [objective.name for objective in found.objectives]
    names += [name for name in (spread_column(names[0]),) if name in rows]
    names += [name for name in found.hyperparameters if name not in names]
    names += learned_rate_columns(rows)
    names += [name for name in ("best_epoch", "epochs", "seconds") if name in rows]
    texts = []
    for number, state, *values in rows[["number", "state", *names]].itertuples(index=False):
        lines = [
            f"{as_text(name)}: {shown(value, name)}"
            for name, value in zip(names, values, strict=True)
            if not pd.isna(value)
        ]
        texts.append("<br>".join([f"<b>trial {number}</b>, {as_text(state.lower())}", *lines]))
    return texts
