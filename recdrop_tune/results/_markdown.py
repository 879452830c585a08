"""The outcome of a search as Markdown: the description of its run in MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from recdrop_tune.oracle import first_value
from recdrop_tune.results._frames import wrapper_columns
from recdrop_tune.results.context_text import context_lines
from recdrop_tune.results.gain import coverage_text, gain_line, shown_wrappers
from recdrop_tune.results.spread import spread_words, weights_words
from recdrop_tune.tracking import MODEL, NOTE_LENGTH, harmless

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult

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
        "### Best configuration\n\n" + _table(["hyperparameter", "value"], best),
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
    return ["### Confirmation\n\n" + _table(list(table), rows)]


def _wrappers(result: TuneResult) -> list[str]:
    if result.wrappers.empty:
        return []
    table = shown_wrappers(result.wrappers)
    rows = table.astype(object).to_numpy().tolist()
    return ["### Best of each wrapper\n\n" + _table(list(table), rows)]


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


def _table(names: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    lines = [[str(name) for name in names], ["---"] * len(names)]
    lines += [[_shown(value) for value in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: Any) -> str:
    if pd.isna(value):
        return "-"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
