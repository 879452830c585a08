"""Says what was searched, and whether the best trial is better than predicting the same always."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult

NOISE = 2
"""What is nearer to the constant predictor's score than that many times its noise may be luck."""


def context_lines(result: TuneResult) -> list[str]:
    """Tells of the data, and what a constant predictor scores; a warning where no trial does better.

    Args:
        result: The result.

    Returns:
        Up to two sentences; none where nothing is known.
    """
    context = result.context
    if context is None:
        return []
    lines = [f"Data: {context.words}."] if context.words else []
    if not context.constant:
        return lines
    warning = no_better_than_constant(result)
    if warning is not None:
        return [*lines, warning]
    scores = ", ".join(
        f"{name} {value:.4f} (noise {context.noise[name]:.4f})"
        for name, value in context.constant.items()
    )
    words = " or ".join(dict.fromkeys(context.predicts.values()))
    return [*lines, f"Always predicting {words} scores {scores}."]


def no_better_than_constant(result: TuneResult) -> str | None:
    """Warns where the best trial may be no better than a constant predictor.

    Args:
        result: The result.

    Returns:
        The warning; `None` where the best trial is better by more than noise, or that is not known.
    """
    context, objective = result.context, result.objective
    best = _best_score(result)
    if context is None or best is None or objective not in context.constant:
        return None
    constant, noise = context.constant[objective], context.noise[objective]
    gain = best - constant if result.direction == "max" else constant - best
    if gain > NOISE * noise:
        return None
    return (
        f"Warning: the best trial ({objective} {best:.4f}) is not clearly better than always predicting "
        f"{context.predicts[objective]} ({constant:.4f}, noise {noise:.4f}). Train for more epochs, try "
        "other learning rates, or look at the data."
    )


def _best_score(result: TuneResult) -> float | None:
    """Returns the confirmed mean of the best configuration, or the best score of a complete trial."""
    if result.confirmation is not None:
        return float(result.confirmation.best["mean"])
    frame = result.trials
    scores = frame.loc[frame["state"] == "COMPLETE", result.objective].dropna()
    best = (scores.max() if result.direction == "max" else scores.min()) if len(scores) else None
    return None if best is None or pd.isna(best) else float(best)
