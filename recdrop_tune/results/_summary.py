"""The outcome of a search in a few lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from recdrop_tune.oracle import first_value
from recdrop_tune.results._frames import hyperparameter_columns, wrapper_columns
from recdrop_tune.results.context_text import context_lines
from recdrop_tune.tracking._links import command

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult


def summary(result: TuneResult, top: int) -> str:
    """Tells the outcome; see `TuneResult.summary`."""
    trials = result.tuner.oracle.trials.values()
    complete = sum(trial.status == "COMPLETED" for trial in trials)
    best = ", ".join(f"{name}={value}" for name, value in result.best_hyperparameters.items())
    return "\n".join(
        [
            f"{len(result.trials)} trials, {complete} complete. Best {result.objective}: "
            f"{first_value(result.best_trial, result.tuner.oracle.objective):.4f}",
            f"Best configuration: {best}",
            *context_lines(result),
            *_gain_lines(result),
            "",
            _table(result, top),
            "",
            f"Folder: {result.directory}",
            *_mlflow_lines(result),
        ]
    )


def _gain_lines(result: TuneResult) -> list[str]:
    if result.confirmation is not None:
        return [result.confirmation.verdict, "", result.confirmation.text()]
    return [gain_line(result)] if wrapper_columns(result.tuner.oracle) else []


def gain_line(result: TuneResult) -> str:
    """Says what dropout was worth."""
    gain = result.gain_over("none")
    if gain is None:
        return "Gain over no dropout: unknown, no trial without dropout was completed."
    if gain.gain == 0.0:
        return "Gain over no dropout: none, the best trial has no dropout."
    return (
        f"Gain over no dropout: {gain.gain:.4f} ({gain.baseline_score:.4f} without). One training "
        "each: the best of many noisy trials looks better than it is."
    )


def _mlflow_lines(result: TuneResult) -> list[str]:
    if result.tracking.failure:
        then = f"when it is back: {command('sync', str(result.directory))}"
        return [f"MLflow: not all is recorded ({result.tracking.failure}); {then}"]
    lines = [f"MLflow: {result.ui_command or result.tracking_uri}"]
    return [*lines, f"        {result.ui_url}"] if result.ui_url else lines


def _table(result: TuneResult, top: int) -> str:
    names = hyperparameter_columns(result.tuner.oracle).values()
    varying = [name for name in names if result.trials[name].nunique(dropna=False) > 1]
    shown = ["number", "state", *varying, result.objective, "best_epoch", "seconds"]
    table = result.trials[shown].head(top).astype(object)
    return str(table.map(_shown).to_string(index=False))


def _shown(value: Any) -> str:
    if pd.isna(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
