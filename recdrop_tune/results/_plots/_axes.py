"""The axes of the figures: titles with units, scales, ticks, and what part is shown at first."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import keras_tuner as kt
import pandas as pd
import plotly.graph_objects as go

_UNITS = {
    "number": "trial, in the order of starts",
    "epoch": "epoch, from 0",
    "rate": "rate: share dropped",
    "seconds": "seconds of the whole trial",
    "n_params": "parameters of the model",
    "ms_per_step": "milliseconds per training step",
}

# Numbers that spread by such a factor need a logarithmic axis: on a linear one all but the largest
# would lie on one line.
_SPAN = 30.0

# The worst trials are not shown at first if they lie so many times as far from the best one as three
# quarters of the trials do: a few that went wrong would press all others together.
_FAR = 4.0


def as_text(words: str) -> str:
    """Makes words safe where Plotly reads HTML. Quotes stay: it does not know all names for them."""
    return escape(words, quote=False)


def title(name: str, logarithmic: bool = False) -> str:
    """Names an axis by its column, with the unit where there is one."""
    words = as_text(_UNITS.get(name, name))
    return f"{words} (log scale)" if logarithmic else words


def is_wide(values: pd.Series[Any], span: float = _SPAN) -> bool:
    """Says whether numbers spread so far that only a logarithmic axis shows them all."""
    numbers = finite(values)
    return bool(len(numbers) and numbers.min() > 0 and numbers.max() / span > numbers.min())


def finite(values: pd.Series[Any]) -> pd.Series[float]:
    """Leaves out what is missing, and the infinite losses of trainings that diverged."""
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
    """Finds the part of a score's axis where the better trials are.

    Args:
        scores: The scores.
        direction: `"min"` or `"max"`.

    Returns:
        Its ends, the smaller first; `None` where no trial lies far outside.
    """
    sign = 1.0 if direction == "min" else -1.0
    costs = sign * scores.dropna().astype(float)
    best = costs.min()
    reach = _FAR * (costs.quantile(0.75) - best)
    if not reach > 0 or not math.isfinite(reach) or costs.max() <= best + reach:
        return None
    ends = (sign * float(best - 0.06 * reach), sign * float(best + reach))
    return min(ends), max(ends)


def show_scores(drawing: go.Figure, scores: pd.Series[Any], objective: kt.Objective) -> None:
    """Sets the y axes of a figure of scores, and says how many trials are out of sight at first.

    Args:
        drawing: The figure.
        scores: The scores of its trials.
        objective: What they are.
    """
    ends = focus(scores, objective.direction)
    inside = scores if ends is None else scores[scores.between(*ends)]
    axis = numbers(inside, objective.name)
    if ends is not None:
        low, high = ends if "type" not in axis else (0.9 * inside.min(), 1.1 * inside.max())
        axis["range"] = [math.log10(low), math.log10(high)] if "type" in axis else [low, high]
        note_hidden(drawing, f"{len(scores) - len(inside)} worse trials")
    drawing.update_yaxes(**axis)


def note_hidden(drawing: go.Figure, what: str) -> None:
    """Says below the legend what is out of sight at first."""
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
