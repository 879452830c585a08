"""The figures of a search: one kind of figure a file."""

from __future__ import annotations

from typing import Any

from recdrop_tune.results.plots.dropout import score_by_dropout
from recdrop_tune.results.plots.learning_curves import curves, history
from recdrop_tune.results.plots.trials import importances, parallel_coordinates, pareto
from recdrop_tune.results.plots.view import View, view_of

_FIGURES = {
    "history": history,
    "score_by_dropout": score_by_dropout,
    "parallel_coordinates": parallel_coordinates,
    "importances": importances,
    "curves": curves,
    "pareto": pareto,
}


def figures(view: View) -> dict[str, Any]:
    """Draws every figure that the search has data for.

    Args:
        view: The search.

    Returns:
        Plotly figures by name.
    """
    drawn = {name: draw(view) for name, draw in _FIGURES.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


__all__ = ["View", "figures", "view_of"]
