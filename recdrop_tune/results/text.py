"""A result in words: the summary, and the description that MLflow shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from recdrop_tune.errors import plain
from recdrop_tune.mlflow_store import MODEL, NOTE_LENGTH, command, harmless
from recdrop_tune.oracle import first_value
from recdrop_tune.results.frames import hyperparameter_columns, spread_column, wrapper_columns
from recdrop_tune.results.gain import (
    coverage_text,
    gain_line,
    shown_wrappers,
    spread_words,
    weights_words,
)

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult


# Says what was searched, and whether the best trial is better than predicting the same always.

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


# The outcome of a search in a few lines of text.


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


# The outcome of a search as Markdown: the description of its run in MLflow.

_CUT = "\n\n(The rest is in `summary.md`.)\n"


def markdown(result: TuneResult, missing: Mapping[str, str]) -> str:
    """Tells the outcome: the score, the gain, the best configuration, and what to keep in mind.

    Args:
        result: The result.
        missing: The files that could not be written, and why.
    """
    states = result.trials["state"]
    score = first_value(result.best_trial, result.tuner.oracle.objective)
    complete = int((states == "COMPLETE").sum())
    best = result.best_hyperparameters.items()
    parts = [
        f"**Best {result.objective}: {score:.4f}{spread_words(result)}**, of {complete} complete trials of "
        f"{len(states)}.",
        *context_lines(result),
        *_gain(result),
        "### Best configuration\n\n" + _markdown_table(["hyperparameter", "value"], best),
        *_confirmation(result),
        *_wrappers(result),
        "### To keep in mind\n\n" + "\n".join(f"- {line}" for line in _caveats(result, missing)),
        f"Folder: `{result.directory}`",
    ]
    return harmless("\n\n".join(parts) + "\n")


def bounded(text: str, length: int = NOTE_LENGTH) -> str:
    """Cuts a text to a length, between two lines."""
    if len(text) <= length:
        return text
    return text[: length - len(_CUT)].rpartition("\n")[0] + _CUT


def _gain(result: TuneResult) -> list[str]:
    if result.confirmation is not None:
        return [result.confirmation.verdict]
    oracle = result.tuner.oracle
    return [gain_line(oracle)] if wrapper_columns(oracle) else []


def _confirmation(result: TuneResult) -> list[str]:
    if result.confirmation is None:
        return []
    table = result.confirmation.brief()
    rows = table.astype(object).to_numpy().tolist()
    return ["### Confirmation\n\n" + _markdown_table(list(table), rows)]


def _wrappers(result: TuneResult) -> list[str]:
    if result.wrappers.empty:
        return []
    table = shown_wrappers(result.wrappers)
    rows = table.astype(object).to_numpy().tolist()
    return ["### Best of each wrapper\n\n" + _markdown_table(list(table), rows)]


def _caveats(result: TuneResult, missing: Mapping[str, str]) -> Iterable[str]:
    if result.confirmation is not None:
        yield (
            "The best of the confirmed configurations is still the best of several: its mean is a little "
            "better than it would be with yet other seeds. The intervals of its gains allow for that."
        )
    else:
        yield (
            "One training each: the best of many noisy trials looks better than it is. `confirm=` of "
            "`recdrop_tune.tune` trains the best again with fresh seeds."
        )
    if weights_words(result):
        yield weights_words(result)
    for state, words in (
        ("PRUNED", "stopped early, for they promised nothing"),
        ("FAILED", "that failed; `report.html` says why"),
        ("RUNNING", "broken off"),
    ):
        number = int((result.trials["state"] == state).sum())
        if number:
            yield f"Trials {words}: {number}."
    missed = coverage_text(result.tuner.oracle)
    if missed:
        yield missed
    limit = result.tuner.oracle.max_trials
    if limit and len(result.trials) < limit:
        yield f"{len(result.trials)} of at most {limit} trials were run."
    if "importances.json" in missing:
        yield "Too few trials, or too much alike, to tell how important each hyperparameter is."
    if MODEL in missing:
        yield f"The best model was not saved: {missing[MODEL]}"


def _markdown_table(names: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    lines = [[str(name) for name in names], ["---"] * len(names)]
    lines += [[_cell(value) for value in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if pd.isna(value):
        return "-"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
