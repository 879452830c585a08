"""How the figures look: colours, symbols, axes and the text under the cursor."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

from recdrop_tune.catalog import SITES, TECHNIQUES
from recdrop_tune.results._frames import spread_column
from recdrop_tune.results._plots._axes import as_text
from recdrop_tune.results._plots._view import View

# Okabe and Ito's colours for colour-blind readers, the two that vanish on white or on black (yellow
# and black) replaced. Every kind has a symbol of its own too.
_COLOURS = {
    "none": "#8a8a8a",
    "native": "#e69f00",
    "recurrent": "#2f7ed8",
    "variational": "#009e73",
    "weight_drop": "#cc79a7",
    "zoneout": "#d55e00",
    "time_distributed": "#56b4e9",
    "lambda": "#a89a00",
}
PLACEMENTS = ["+".join(sites) for size in (1, 2, 3) for sites in combinations(SITES, size)]
"""Every placement, single sites first."""

_SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "cross",
    "triangle-down",
    "star",
    "hexagon",
)

GREY = "#8a8a8a"
BEST = _COLOURS["recurrent"]
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
    """Gives each kind of trial a colour and a symbol, a technique the same ones in every search.

    Args:
        kinds: The kinds, as in `View.kinds`.
    """
    own = {name: (_COLOURS[name], _SYMBOLS[i]) for i, name in enumerate(TECHNIQUES)}
    others = [kind for kind in dict.fromkeys(kinds) if kind not in own]
    # With several layers most kinds are pairs; grey stays for no dropout.
    spare = [look for name, look in own.items() if name != "none"]
    return {**own, **{kind: spare[i % len(spare)] for i, kind in enumerate(others)}}


def ordered(words: Iterable[str], known: Iterable[str] = TECHNIQUES) -> list[str]:
    """Orders words for a legend or an axis: known ones (techniques) in their order, then the others."""
    ranks = {word: rank for rank, word in enumerate(known)}
    return sorted(set(words), key=lambda word: (ranks.get(word, len(ranks)), word))


def markers(look: tuple[str, str], states: Iterable[str]) -> dict[str, Any]:
    """Describes the points of trials: hollow where they were not completed.

    Args:
        look: Colour and symbol.
        states: The states of the trials.
    """
    colour, symbol = look
    symbols = [symbol if state == "COMPLETE" else f"{symbol}-open" for state in states]
    line = {"width": 1.5, "color": colour}
    return {"color": colour, "symbol": symbols, "size": 8, "line": line}


def shown(value: object) -> str:
    """Writes a value for a figure, safe in the HTML that Plotly reads."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return as_text(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")


def hover_text(view: View, rows: pd.DataFrame) -> list[str]:
    """Writes what is shown under the cursor: the trial, its scores, its configuration."""
    names = [objective.name for objective in view.objectives]
    names += [name for name in (spread_column(names[0]),) if name in rows]
    names += [name for name in view.hyperparameters if name not in names]
    names += [name for name in ("best_epoch", "epochs", "seconds") if name in rows]
    texts = []
    for number, state, *values in rows[["number", "state", *names]].itertuples(index=False):
        lines = [
            f"{as_text(name)}: {shown(value)}"
            for name, value in zip(names, values, strict=True)
            if not pd.isna(value)
        ]
        texts.append("<br>".join([f"<b>trial {number}</b>, {as_text(state.lower())}", *lines]))
    return texts
