"""The outcome of a search in a few lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from recdrop_tune.errors import plain
from recdrop_tune.oracle import first_value
from recdrop_tune.results._frames import (
    hyperparameter_columns,
    spread_column,
    wrapper_columns,
)
from recdrop_tune.results.context_text import context_lines
from recdrop_tune.results.gain import coverage_text, gain_line, shown_wrappers
from recdrop_tune.results.spread import spread_words, weights_words
from recdrop_tune.tracking._links import command

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult


def summary(result: TuneResult, top: int) -> str:
    """Tells the outcome; see `TuneResult.summary`."""
    trials = result.tuner.oracle.trials.values()
    complete = sum(trial.status == "COMPLETED" for trial in trials)
    best = ", ".join(f"{name}={value}" for name, value in result.best_hyperparameters.items())
    text = "\n".join(
        [
            f"{len(result.trials)} trials, {complete} complete. Best {result.objective}: "
            f"{first_value(result.best_trial, result.tuner.oracle.objective):.4f}{spread_words(result)}",
            f"Best configuration: {best}",
            *filter(None, [weights_words(result)]),
            *context_lines(result),
            *_gain_lines(result),
            "",
            _table(result, top),
            "",
            f"Folder: {result.directory}",
            *_mlflow_lines(result),
        ]
    )
    return plain(text)


def _gain_lines(result: TuneResult) -> list[str]:
    oracle = result.tuner.oracle
    if not wrapper_columns(oracle):
        return []
    if result.confirmation is not None:
        lines = [result.confirmation.verdict, "", result.confirmation.text()]
    else:
        lines = [gain_line(oracle)]
    covered = [coverage_text(oracle)]
    table = str(shown_wrappers(result.wrappers).astype(object).map(_shown).to_string(index=False))
    return [*lines, "", "Best of each wrapper:", table, *filter(None, covered)]


def _mlflow_lines(result: TuneResult) -> list[str]:
    if result.tracking.failure:
        then = f"when it is back: {command('sync', str(result.directory))}"
        return [f"MLflow: not all is recorded ({result.tracking.failure}); {then}"]
    lines = [f"MLflow: {result.ui_command or result.tracking_uri}"]
    return [*lines, f"        {result.ui_url}"] if result.ui_url else lines


def _table(result: TuneResult, top: int) -> str:
    names = hyperparameter_columns(result.tuner.oracle).values()
    varying = [name for name in names if result.trials[name].nunique(dropna=False) > 1]
    spread = [name for name in (spread_column(result.objective),) if name in result.trials]
    shown = ["number", "state", *varying, result.objective, *spread, "best_epoch", "seconds"]
    table = result.trials[shown].head(top).astype(object)
    return str(table.map(_shown).to_string(index=False))


def _shown(value: Any) -> str:
    if pd.isna(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
