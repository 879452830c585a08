"""Reads what a `fit` or `run_trial` of the user's own returns, in the forms that Keras Tuner takes."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import keras
import keras_tuner as kt
import numpy as np


def explicit_metrics(results: Any, objective: Any) -> dict[str, float]:
    """Turns results into metrics by name.

    Args:
        results: A number (the objective), metrics by name, Keras's history (of which the best epoch
            counts), or a list of these, whose mean counts.
        objective: The `keras_tuner.Objective`.

    Raises:
        keras_tuner.errors.FatalTypeError: The results are something else; the search ends.
        keras_tuner.errors.FatalValueError: The objective is not among them; the search ends.
    """
    if isinstance(results, list) and results:
        parts = [explicit_metrics(part, objective) for part in results]
        return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
    if isinstance(results, Real) and not isinstance(results, bool):
        return {objective.name: float(results)}
    if isinstance(results, keras.callbacks.History):
        results = _best_epoch(results.history, objective)
    if not isinstance(results, Mapping):
        raise kt.errors.FatalTypeError(
            "Expected `fit` or `run_trial` to return Keras's history, a number, or metrics by name. "
            f"Received: {results!r}"
        )
    if not objective.has_value(results) and objective.name not in results:
        raise kt.errors.FatalValueError(
            f"Expected `{objective.name}` among the metrics that `fit` or `run_trial` returned. "
            f"Received: {', '.join(map(str, results)) or 'none'}"
        )
    metrics = {str(name): float(value) for name, value in results.items()}
    return {objective.name: float(objective.get_value(metrics)), **metrics}


def _best_epoch(history: Mapping[str, Any], objective: Any) -> dict[str, float]:
    length = min((len(values) for values in history.values()), default=0)
    epochs = [{name: values[epoch] for name, values in history.items()} for epoch in range(length)]
    finite = [
        epoch
        for epoch in epochs
        if objective.has_value(epoch) and np.isfinite(objective.get_value(epoch))
    ]
    best = epochs[-1] if epochs else {}
    for epoch in finite:
        value = objective.get_value(epoch)
        if epoch is finite[0] or objective.better_than(value, objective.get_value(best)):
            best = epoch
    return best
