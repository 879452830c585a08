"""The outline of a result: the facts about a search, and their order.

The summary, the description in MLflow, the page in a notebook and the report are this outline as text, as
Markdown and as HTML. This module decides what it says, `render` how it looks.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from importlib.metadata import version
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from recdrop_tune import standing
from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.errors import exception_line, failure_text
from recdrop_tune.events import STOPPED, Configuration, SearchStarted
from recdrop_tune.hyperparameters import NONE, drops
from recdrop_tune.records import Records, TrialRecord
from recdrop_tune.results.frames import format_cell, learned_rate_columns, spread_column
from recdrop_tune.results.plots import figures
from recdrop_tune.results.questions import format_configuration
from recdrop_tune.results.verdict import format_advice, format_count
from recdrop_tune.results.view import SearchView
from recdrop_tune.standing import Gain, format_gain, format_number
from recdrop_tune.states import TrialState
from recdrop_tune.terminal import format_ending

_LONGEST_ERROR = 20_000
"""The longest error in the report, in characters. Its cause is at its beginning."""

_NO_DROPOUT = "No dropout was searched. In a build function, use `rdt.dropout_rnn(hp, layer)`."

_CAPTIONS = {
    "gains": "Each configuration against the same without dropout, trained with the same fresh seeds. Blue: "
    "it helped, orange: it hurt, grey: it makes no difference, or that is not known.",
    "history": "One point per trial. Hollow: stopped early, at its best value.",
    "score_by_dropout": "A panel for each placement. Dashed: the best score without dropout, with any other "
    "settings; only twins show what dropout is worth.",
    "importances": "Optuna's PED-ANOVA on the complete trials. A hint: with few trials, much is chance.",
    "curves": "One line per trial. Dotted: stopped early. The best one is thick, with a star at its "
    "best epoch. Click a name in the legend to hide its trials.",
}


@dataclass(frozen=True)
class Section:
    """A part of a page; `text` is preformatted, `note` describes the table or figure."""

    title: str
    lines: Sequence[str] = ()
    note: str = ""
    table: pd.DataFrame | None = None
    text: str = ""
    figure: go.Figure | None = None


def outline(view: SearchView, top: int = 20) -> list[Section]:
    """Lists the sections of the summary, of the description in MLflow and of the page in a notebook."""
    opening = Section("", _outcome(view))
    if not view.ranking:
        return [opening]
    trials = Section("Best trials", table=best_trials(view, top))
    return [opening, *_dropout(view), trials, Section("", view.where)]


def full_outline(view: SearchView) -> list[Section]:
    """Lists the sections of the report."""
    search, frame = view.search, view.trials
    constant = [name for name in view.columns.values() if name not in view.varying]
    hidden = ["trial_id", "mlflow_run_id", *constant]
    drawn = {
        name: Section(unescape(each.layout.title.text), note=_CAPTIONS[name], figure=each)
        for name, each in figures(view).items()
    }
    sections = [Section("", _outcome(view))]
    picture = next((each for each in ("gains", "score_by_dropout") if each in drawn), None)
    sections += [drawn.pop(picture)] if picture else []
    sections += _dropout(view)
    sections += drawn.values()
    note = "Best first. Click a column to sort by it. Values that all trials share are among the settings."
    trials = _rounded(view, frame.drop(columns=hidden))
    sections.append(Section("Trials", note=note, table=trials))
    failed = [
        each
        for each in sorted(view.records.trials.values(), key=lambda each: each.number)
        # Pruned trials may have messages too.
        if each.message and each.state not in (TrialState.COMPLETE, TrialState.PRUNED)
    ]
    if failed:
        lines = [f"trial {each.number}: `{exception_line(each.message)}`" for each in failed]
        texts = [failure_text(each.message)[:_LONGEST_ERROR] for each in failed]
        errors = [f"trial {e.number}: {text}" for e, text in zip(failed, texts, strict=True)]
        sections.append(Section("Trials that failed", lines, text="\n\n".join(errors)))
    if search.space:
        sections.append(Section("Search space", text=search.space))
    settings = {
        "tuner": search.tuner,
        "experiment": search.experiment,
        "max_trials": search.max_trials,
        view.objective: view.records.direction,
        **{name: value for name in constant for value in frame[name].head(1).dropna()},
        "began": time.strftime("%Y-%m-%d %H:%M", time.localtime(view.records.began)),
        **{name: version(name) for name in ("mlflow", "plotly")},
        "python": platform.python_version(),
        "platform": platform.platform(),
        **search.info,  # The versions of the search count, not those of a later reader.
    }
    table = pd.DataFrame(settings.items(), columns=["setting", "value"])
    return [*sections, Section("Settings and versions", table=table), Section("", view.where)]


def _outcome(view: SearchView) -> list[str]:
    """Lists the sentences about a search: the answer first, then what it is based on."""
    records, best = view.records, standing.best(view.records)
    trainings, is_confirmed = records.confirmations, view.confirmation is not None
    counts = view.trials["state"].value_counts(sort=False)  # The complete ones come first.
    states = ", ".join(f"{number} {str(state).lower()}" for state, number in counts.items())
    if best is None:
        nothing = f"No trial is complete: {states}." if states else "No trial has started."
        return [*filter(None, [_verdict(view), nothing])]
    failed = weights = None
    if trainings and not is_confirmed:
        why = f"the last one with: {exception_line(trainings[-1].message or '')}"
        failed = f"All {len(trainings)} trainings of the confirmation failed; {why}"
    where, word = " in the search" * is_confirmed, view.training_word
    score = f"{view.objective}{where}: {format_number(best.score or 0.0)}"
    if not math.isnan(best.spread):
        score += f" ± {format_number(best.spread)} over {format_count(best.trainings, word)}"
        if not is_confirmed:
            part = ", which was not trained on all data" * (word == "fold")
            weights = f"The best model has the weights of its best {word}{part}."
    ending = format_ending(records)
    if ending and records.no_more and records.no_more.reason == STOPPED:
        ending += " To resume, run it again with the same folder."
    sentences = [
        _nothing_learned(view, best),
        _verdict(view),
        failed,
        None if view.offered else _NO_DROPOUT,
        f"{len(view.trials)} trials, {states}. Best {score}",
        _choice(view),
        f"Best configuration: {_format_values(view.values_of(view.ranking[0]))}",
        _learned_rates(view),
        ending,
        weights,
        standing.never_tried(view.by_wrapper),
        format_backends(records),
        *format_data(view.search),
    ]
    return [*filter(None, sentences)]


def _nothing_learned(view: SearchView, best: TrialRecord) -> str | None:
    """Warns if the best trial is less than 5 % better than a constant predictor."""
    context, cost = view.search.context, view.records.cost
    if context is None or context.constant is None:
        return None
    what, score = "the best trial", best.score or 0.0
    if view.confirmation is not None:
        what, score = "the mean of the chosen configuration", view.confirmation.best["mean"]
    if is_clearly_better(cost(score), cost(context.constant), min(0.0, cost(1.0))):
        return None
    return (
        f"Warning: {what} ({view.objective} {format_number(score)}) is not clearly better than always "
        f"predicting {context.predicts} ({format_number(context.constant)}). Train for more epochs, try "
        "other learning rates, or look at the data."
    )


def is_clearly_better(cost: float, constant: float, perfect: float) -> bool:
    """Returns whether a cost closes at least 5 % of the gap between a constant and a perfect predictor."""
    gain = constant - cost
    # A perfect loss is 0, a perfect accuracy 1: no accuracy is 5 % above 98 %.
    return gain > 0 and gain >= 0.05 * abs(constant - perfect)


def _verdict(view: SearchView) -> str:
    """Writes the verdict of the confirmation, or the answer of the search alone."""
    if view.confirmation is not None:
        return view.confirmation.verdict
    is_answered = standing.best(view.records) is not None and not view.by_wrapper.empty
    answer = [_search_answer(view)] if is_answered else []
    return " ".join([*answer, *format_advice(view.records)])


def _search_answer(view: SearchView) -> str:
    """Writes which dropout was best in the search, where and how much, and what it was worth."""
    records, order = view.records, standing.ranked(view.records)
    trial = next((each for each in order if drops(each.active)), None)
    if trial is None:
        return "What dropout is worth is not known: no trial with dropout was completed."
    begin = "Best in the search"
    if trial is not order[0]:
        begin = "The best trial in the search has no dropout. Best with dropout"
    name = format_configuration(records, Configuration(trial.trial_id))
    best = f"{begin}: {name}, {records.objective} {format_number(trial.score or 0.0)}"
    if view.gain is None:
        why = "its twin, the same settings without dropout, was not completed"
        if not all(NONE in wrappers for wrappers in view.offered.values()):
            why = "the space does not offer `none`"
        how = " `confirm=1` trains and compares both." * view.by_tune
        return f"{best}. What its dropout is worth is not known: {why}.{how}"
    score, number = format_number(view.gain.twin_score), view.gain.twin.number
    twin = f"the same without dropout has {score} (trial {number})"
    return f"{best}; {twin}. {_worth(view, view.gain)}"


def _worth(view: SearchView, gain: Gain) -> str:
    """Writes the gain of a trial, and how much of it is luck."""
    number, word = gain.trial.trainings, view.training_word
    each = f"{format_count(number, word)} each" if number > 1 else "one training each"
    if gain.value <= 0:
        how = "; `confirm=3` checks whether that holds" * view.by_tune
        return f"No gain in {each}{how}."
    luck = f"This gain, {format_number(gain.value)}, is from {each}"
    if gain.value < gain.spread:
        luck += f", whose scores vary more (standard deviation {format_number(gain.spread)})"
    luck += ". The best of many trials is partly lucky"
    if not math.isnan(gain.expected):
        again = f"about {format_number(gain.expected)}" if gain.expected > 0 else "none"
        luck += f": with other seeds expect {again}"
    return f"{luck}.{' `confirm=3` checks this.' * view.by_tune}"


def _choice(view: SearchView) -> str | None:
    """Writes which configuration the confirmation recommends."""
    if view.confirmation is None:
        return None
    row, name = view.confirmation.best, view.confirmation.names[view.confirmation.best_id]
    search = "" if pd.isna(row["search"]) else f" (in the search: {format_number(row['search'])})"
    seeds = format_count(row["n"], "fresh seed")
    return f"Chosen by confirmation: {name}, mean {format_number(row['mean'])} over {seeds}{search}"


def _learned_rates(view: SearchView) -> str | None:
    best = view.trials[view.trials["trial_id"] == view.ranking[0]]
    rates = best[learned_rate_columns(view.trials)].dropna(axis="columns")
    if rates.empty:
        return None
    return f"Its learned rates: {_format_values(rates.iloc[0].to_dict())}"


def _format_values(values: Mapping[Any, Any]) -> str:
    return ", ".join(f"{name}={format_cell(value, name)}" for name, value in values.items())


def format_backends(records: Records) -> str | None:
    """Names several backends: one seed gives other numbers on each."""
    several = len(records.backends) > 1
    return f"Run on several backends: {', then '.join(records.backends)}." if several else None


def format_data(search: SearchStarted) -> Iterator[str]:
    """Yields the data, and what a constant predictor scores."""
    context = search.context
    if context is None:
        return
    if context.words:
        yield f"Data: {context.words}."
    if context.constant is not None:
        score = f"{search.objective} {format_number(context.constant)}"
        yield f"Always predicting {context.predicts} scores {score}."


def _dropout(view: SearchView) -> Iterator[Section]:
    """Yields what dropout is worth: by the confirmation, or by the search alone."""
    if view.by_wrapper.empty:
        return
    if view.confirmation is not None:
        note = (
            "Trained again after the search, all with the same fresh seeds. `gain` is over the same settings "
            "without dropout (`twin`). The 95 % intervals hold for all configurations together, whenever it "
            "stopped."
        )
        yield Section("Confirmation", [], note, view.confirmation.brief())
    table = view.by_wrapper.astype(object)
    table["best"] = table["best"].map(format_number, na_action="ignore")
    table["gain"] = table["gain"].map(format_gain, na_action="ignore")
    if (table["layer"] == "").all():
        table = table.drop(columns="layer")
    note = "`gain` is over the same settings without dropout, if both were trained to the end."
    yield Section("Best of each wrapper in the search", [], note, table)


def _rounded(view: SearchView, trials: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame of trials with the objective and its spread as the sentences write them."""
    frame = trials.astype(object)
    for name in {view.objective, spread_column(view.objective)} & {*frame}:
        frame[name] = frame[name].map(format_number, na_action="ignore")
    return frame


def best_trials(view: SearchView, top: int) -> pd.DataFrame:
    """Returns the first trials, with the columns in which trials differ."""
    name = view.objective
    spread = [each for each in [spread_column(name)] if each in view.trials]
    columns = ["number", "state", *view.varying, name, *spread, "best_epoch", "seconds"]
    table = _rounded(view, view.trials[columns].head(top))
    if "wrapper" in view.wrappers and {"wrapper", "rate"} <= {*table}:
        learns = [each for each, technique in TECHNIQUES.items() if technique.learns_rate]
        table.loc[table["wrapper"].isin(learns), "rate"] = "learned"
    return table
