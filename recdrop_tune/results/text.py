"""A result in words: the summary, and the description that MLflow shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.errors import ProjectError, plain
from recdrop_tune.events import COMPLETE, FAILED, INTERRUPTED, PRUNED, STOPPED
from recdrop_tune.mlflow_store import (
    MODEL,
    NOTE_LENGTH,
    command,
    harmless,
    markdown_table,
    quoted,
    read_card,
)
from recdrop_tune.oracle import first_value
from recdrop_tune.results.frames import (
    hyperparameter_columns,
    learned_rate_columns,
    shown,
    spread_column,
    wrapper_columns,
)
from recdrop_tune.results.gain import (
    coverage_text,
    gain_line,
    shown_wrappers,
    spread_words,
    weights_words,
)
from recdrop_tune.standing import amount
from recdrop_tune.terminal import no_more_words

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult


TOP = 5
"""So many trials are in the description; the report has all of them."""

NOISE = 2
"""What is nearer to the constant predictor's score than that many times its noise may be luck."""


def context_lines(result: TuneResult) -> list[str]:
    """Tells of the data, and what a constant predictor scores; a warning where no trial does better.

    Where the search has changed its backend that is told too: one seed gives other numbers there.
    """
    context, backends = result.context, result.search.records.backends
    lines = [f"Run on several backends: {', then '.join(backends)}."] if backends[1:] else []
    if context is None:
        return lines
    lines += [f"Data: {context.words}."] if context.words else []
    if not context.constant:
        return lines
    warning = _no_better_than_constant(result)
    if warning is not None:
        return [*lines, warning]
    scores = ", ".join(
        f"{name} {amount(value)} (noise {amount(context.noise[name])})"
        for name, value in context.constant.items()
    )
    words = " or ".join(dict.fromkeys(context.predicts.values()))
    return [*lines, f"Always predicting {words} scores {scores}."]


def _no_better_than_constant(result: TuneResult) -> str | None:
    """Warns where the best trial may be no better than a constant predictor.

    `None` where it is better by more than noise, or that is not known.
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
        f"Warning: the best trial ({objective} {amount(best)}) is not clearly better than always "
        f"predicting {context.predicts[objective]} ({amount(constant)}, noise {amount(noise)}). Train for "
        "more epochs, try other learning rates, or look at the data."
    )


def _best_score(result: TuneResult) -> float | None:
    """Returns the confirmed mean of the best configuration, or the best score of a complete trial."""
    if result.confirmation is not None:
        return float(result.confirmation.best["mean"])
    frame = result.trials
    scores = frame.loc[frame["state"] == COMPLETE, result.objective]
    best = scores.max() if result.direction == "max" else scores.min()
    return None if pd.isna(best) else float(best)


# The summary.


def summary(result: TuneResult, top: int) -> str:
    """Tells the outcome; see `TuneResult.summary`."""
    lines = opening_lines(result)
    if _is_any_complete(result):
        table = str(best_trials(result, top).to_string(index=False))
        lines += ["", table, "", *closing_lines(result)]
    return plain("\n".join(lines))


def opening_lines(result: TuneResult) -> list[str]:
    """Tells the best score, the best configuration, and what dropout was worth, as far as that is known."""
    states = result.trials["state"]
    if not _is_any_complete(result):
        counts = ", ".join(
            f"{n} {str(state).lower()}" for state, n in states.value_counts().items()
        )
        return [f"No trial is complete: {counts}." if counts else "No trial has begun."]
    best = ", ".join(f"{name}={value}" for name, value in result.best_hyperparameters.items())
    complete = (states == COMPLETE).sum()
    return [
        f"{len(states)} trials, {complete} complete. Best {result.objective}: {_score(result)}",
        f"Best configuration: {best}",
        *_learned_lines(result),
        *early_lines(result),
        *filter(None, [weights_words(result)]),
        *context_lines(result),
        *_gain_lines(result),
    ]


def learned_by_best(result: TuneResult) -> dict[str, float]:
    """Returns the rates that the best trial has learned until its best epoch, by metric."""
    row = result.trials.set_index("trial_id").loc[result.best_trial.trial_id]
    return {
        name: row[name] for name in learned_rate_columns(result.trials) if not pd.isna(row[name])
    }


def _learned_lines(result: TuneResult) -> list[str]:
    rates = ", ".join(f"{name}={shown(rate)}" for name, rate in learned_by_best(result).items())
    return [f"Its rates were learned, at its best epoch: {rates}"] if rates else []


def closing_lines(result: TuneResult) -> list[str]:
    """Says where the search is, and what is to be known of the file of its best model."""
    return [f"Folder: {result.directory}", *_model_lines(result), *_mlflow_lines(result)]


def _model_lines(result: TuneResult) -> list[str]:
    try:
        card = read_card(result.directory)
    except ProjectError:  # Somebody has changed it.
        card = None
    if card is None or card["trial_id"] != str(result.best_trial.trial_id):
        return []
    return (
        [] if card["not_plain"] is None else [f"Best model: {not_plain_words(card['not_plain'])}"]
    )


def not_plain_words(reason: str) -> str:
    """Says what it takes to load a best model that has layers of this package.

    Args:
        reason: Why `to_plain` has made no other one.
    """
    return (
        f"`{MODEL}` has layers of this package, and takes `import recdrop_tune.wrappers` before it is "
        f"loaded. `to_plain` made none without them: {reason}."
    )


def _is_any_complete(result: TuneResult) -> bool:
    return bool((result.trials["state"] == COMPLETE).any())


def early_lines(result: TuneResult) -> list[str]:
    """Says why the search has begun no more trials, where that was before it had as many as it might."""
    early, words = result.search.records.no_more, no_more_words(result.search.records)
    if early is None or words is None:
        return []
    return [f"{words} Run again in its folder, it goes on." if early.reason == STOPPED else words]


def _gain_lines(result: TuneResult) -> list[str]:
    if result.wrappers.empty:
        return []
    confirmed = [] if result.confirmation is None else ["", result.confirmation.text()]
    table = str(shown_wrappers(result.wrappers).astype(object).map(shown).to_string(index=False))
    missed = [coverage_text(result.wrappers)]
    lines = [*gain_words(result), *confirmed, "", "Best of each wrapper:", table]
    return [*lines, *filter(None, missed)]


def gain_words(result: TuneResult) -> list[str]:
    """Says what dropout is worth: as the confirmation showed, or as the search alone suggests."""
    if result.confirmation is not None:
        return [result.confirmation.verdict]
    return [] if result.wrappers.empty else [gain_line(result.search.oracle)]


def _score(result: TuneResult) -> str:
    score = first_value(result.best_trial, result.search.oracle.objective)
    return f"{amount(score)}{spread_words(result)}"


def _mlflow_lines(result: TuneResult) -> list[str]:
    if result.failure:
        then = f"when it is back: {command('sync', str(result.directory))}"
        return [f"MLflow: not all is recorded ({result.failure}); {then}"]
    if result.ui_command is not None:  # Nothing serves the page before that was called.
        return [f"MLflow: {result.ui_command}"]
    lines = [f"MLflow: {result.tracking_uri}"]
    return [*lines, f"        {result.ui_url}"] if result.ui_url else lines


def best_trials(result: TuneResult, top: int) -> pd.DataFrame:
    """Returns the first rows of the table of trials, as text, with the columns in which trials differ.

    Args:
        result: The result.
        top: How many rows.
    """
    oracle = result.search.oracle
    names = hyperparameter_columns(oracle).values()
    varying = [name for name in names if result.trials[name].nunique(dropna=False) > 1]
    spread = [name for name in (spread_column(result.objective),) if name in result.trials]
    columns = ["number", "state", *varying, result.objective, *spread, "best_epoch", "seconds"]
    table = result.trials[columns].head(top).astype(object).map(shown)
    if "rate" in table and "wrapper" in table and "wrapper" in wrapper_columns(oracle):
        learns = [name for name, technique in TECHNIQUES.items() if technique.learns_rate]
        table.loc[table["wrapper"].isin(learns), "rate"] = "learned"
    return table


# The description of the run in MLflow, as Markdown.

_CUT = "\n\n(The rest is in `summary.md`.)\n"


def markdown(result: TuneResult, missing: Mapping[str, str], not_plain: str | None = None) -> str:
    """Tells the outcome: the score, the gain, the best configuration, and what to keep in mind.

    Args:
        result: The result.
        missing: The files that could not be written, and why not.
        not_plain: Why the file of the best model has layers of this package; `None` if it has none.
    """
    states = result.trials["state"]
    values = {**result.best_hyperparameters, **learned_by_best(result)}
    best = pd.DataFrame(values.items(), columns=["hyperparameter", "value"])
    words = ", ".join(
        f"{name} {shown(value)}" for name, value in result.best_hyperparameters.items()
    )
    warning, context = _no_better_than_constant(result), context_lines(result)
    parts = [
        # MLflow's page folds a description: what matters most is in its first lines.
        f"**Best {result.objective}: {_score(result)}**, of {(states == COMPLETE).sum()} complete trials of "
        f"{len(states)}: {words}.",
        *([] if warning is None else [warning]),
        *gain_words(result),
        *(line for line in context if line != warning),
        "### Best configuration\n\n" + _markdown_table(best),
    ]
    if result.confirmation is not None:
        parts.append("### Confirmation\n\n" + _markdown_table(result.confirmation.brief()))
    if not result.wrappers.empty:
        table = _markdown_table(shown_wrappers(result.wrappers))
        parts.append("### Best of each wrapper\n\n" + table)
    best_of_all = best_trials(result, TOP).drop(columns="state")
    parts.append("### Best trials\n\n" + _markdown_table(best_of_all))
    parts += [
        "### To keep in mind\n\n"
        + "\n".join(f"- {line}" for line in _caveats(result, missing, not_plain)),
        f"Folder: {quoted(str(result.directory))}",
    ]
    return harmless("\n\n".join(parts) + "\n")


def bounded(text: str, length: int = NOTE_LENGTH) -> str:
    """Cuts a text to a length, between two lines."""
    if len(text) <= length:
        return text
    return text[: length - len(_CUT)].rpartition("\n")[0] + _CUT


def _caveats(
    result: TuneResult, missing: Mapping[str, str], not_plain: str | None
) -> Iterable[str]:
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
        (PRUNED, "stopped early, for they promised nothing"),
        (FAILED, "that failed; `report.html` says why"),
        (INTERRUPTED, "broken off"),
    ):
        number = int((result.trials["state"] == state).sum())
        if number:
            yield f"Trials {words}: {number}."
    missed = coverage_text(result.wrappers)
    if missed:
        yield missed
    early, limit = early_lines(result), result.search.oracle.max_trials
    yield from early
    if limit and len(result.trials) < limit and not early:
        yield f"{len(result.trials)} of at most {limit} trials were run."
    if "importances.json" in missing:
        yield "Too few trials, or too much alike, to tell how important each hyperparameter is."
    if MODEL in missing:
        yield f"The best model was not saved: {missing[MODEL]}"
    elif not_plain is not None:
        yield not_plain_words(not_plain)


def _markdown_table(table: pd.DataFrame) -> str:
    rows = table.astype(object).to_numpy().tolist()
    return markdown_table(table, [map(shown, row) for row in rows])
