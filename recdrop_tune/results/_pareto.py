"""Which trials no other trial beats in every respect."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras_tuner as kt
import numpy as np
import numpy.typing as npt
import pandas as pd

from recdrop_tune.errors import invalid_argument
from recdrop_tune.tuner import as_objective

# Columns of the frame of trials of which less is better, whatever the models report.
_COSTS = ("seconds", "epochs", "n_params")


def objectives_named(trials: pd.DataFrame, metrics: Iterable[Any]) -> list[kt.Objective]:
    """Finds the directions of metrics and costs of the frame of trials.

    Args:
        trials: The frame of trials.
        metrics: Names of columns, or `keras_tuner.Objective`s where a name does not tell whether
            more is better.

    Raises:
        InvalidArgumentError: There is no such column of numbers, or its direction is not known.
    """
    found = [_objective(metric) for metric in metrics]
    numbers = [str(name) for name in trials.columns if trials[name].dtype.kind in "if"]
    for objective in found:
        if objective.name not in numbers:
            raise invalid_argument(
                "metrics", expected=f"some of {', '.join(numbers)}", received=objective.name
            )
    if not found:
        raise invalid_argument("metrics", expected="at least one metric", received=())
    return found


def _objective(metric: Any) -> kt.Objective:
    # An `Objective` cannot be compared with a name.
    known = isinstance(metric, str) and metric in _COSTS
    return kt.Objective(metric, "min") if known else as_objective(metric)


def pareto_front(trials: pd.DataFrame, objectives: Sequence[kt.Objective]) -> pd.DataFrame:
    """Returns the complete trials that no other complete trial dominates.

    A trial dominates another if it is as good in every objective and better in one. Trials that lack
    an objective's value are left out.

    Args:
        trials: The frame of trials.
        objectives: What to trade off.

    Returns:
        Their rows, the best in the first objective first.
    """
    names = [objective.name for objective in objectives]
    signs = [1.0 if objective.direction == "min" else -1.0 for objective in objectives]
    valued = trials[(trials["state"] == "COMPLETE") & trials[names].notna().all(axis=1)]
    front = valued[non_dominated(valued[names].to_numpy(dtype=float) * signs)]
    ascending = objectives[0].direction == "min"
    return front.sort_values(names[0], ascending=ascending, kind="stable").reset_index(drop=True)


def non_dominated(costs: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Says which points no other point dominates.

    Args:
        costs: Points of shape `(points, objectives)`, of which less is better.

    Returns:
        Booleans of shape `(points,)`. Of equal points all are kept.

    Example:
        >>> non_dominated(np.array([[1.0, 3.0], [2.0, 2.0], [2.0, 4.0]])).tolist()
        [True, True, False]
    """
    # A point at a time: all pairs at once would take `points` squared of memory.
    dominated = [
        ((costs <= point).all(axis=1) & (costs < point).any(axis=1)).any() for point in costs
    ]
    return ~np.array(dominated, dtype=bool)
