"""By how much the best trial of a search beats the best one of another kind."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Gain:
    """The best trial against the best one with another value of `wrapper`.

    One training each: the best of many noisy trials looks better than it is.

    Attributes:
        baseline: The `wrapper` compared with.
        baseline_score: Its best score.
        best_score: The best score of all.
        gain: By how much the best is better, in units of the objective; never negative.
    """

    baseline: str
    baseline_score: float
    best_score: float
    gain: float


def gain_over(
    trials: pd.DataFrame, wrapper_columns: list[str], objective: str, wrapper: str
) -> Gain | None:
    """Compares the best trial with the best one that has a given wrapper in all its layers.

    Args:
        trials: The trials, best first.
        wrapper_columns: The columns that hold wrappers.
        objective: The column of the objective.
        wrapper: A value of those columns.
    """
    scores = trials[trials["state"] == "COMPLETE"]
    wrappers = scores[wrapper_columns]
    same = wrappers == wrapper
    # A layer that a trial does not have has no other dropout either.
    baseline = scores[same.any(axis=1) & (same | wrappers.isna()).all(axis=1)]
    if baseline.empty:
        return None
    best, base = float(scores[objective].iloc[0]), float(baseline[objective].iloc[0])
    return Gain(wrapper, base, best, abs(base - best))
