"""The figures of a search."""

from __future__ import annotations

from typing import Any

from recdrop_tune.results.found import Found
from recdrop_tune.results.plots.score_figures import curves, history, score_by_dropout
from recdrop_tune.results.plots.trials import importances, parallel_coordinates, pareto

_FIGURES = {
    "history": history,
    "score_by_dropout": score_by_dropout,
    "parallel_coordinates": parallel_coordinates,
    "importances": importances,
    "curves": curves,
    "pareto": pareto,
}


def figures(found: Found) -> dict[str, Any]:
    """Draws every figure that the search has data for; returns them by name."""
    drawn = {name: draw(found) for name, draw in _FIGURES.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


__all__ = ["figures"]
