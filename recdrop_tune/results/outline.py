"""The outline of a result: the facts about a search, and their order.

The summary, the description in MLflow, the page in a notebook and the report are this outline as text, as
Markdown and as HTML. This module decides what it says, `render` how it looks.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from importlib.metadata import version
from typing import Any

import pandas as pd

from recdrop_tune import standing
from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.errors import exception_line, failure_text
from recdrop_tune.events import STOPPED
from recdrop_tune.hyperparameters import NONE, drops
from recdrop_tune.results.frames import learned_rate_columns, shown, spread_column
from recdrop_tune.results.plots import figures
from recdrop_tune.results.verdict import after_advice, train_longer
from recdrop_tune.results.view import SearchView
from recdrop_tune.standing import amount, gained
from recdrop_tune.states import TrialState
from recdrop_tune.terminal import dropout_words, no_more_words

_LONGEST_ERROR = 20_000
"""The longest error in the report, in characters. Its cause is at its beginning."""

_CAPTIONS = {
    "gains": "Each configuration against the same without dropout, trained with the same fresh seeds. Blue: "
    "it helped, orange: it hurt.",
    "history": "One point a trial. Hollow: stopped early, at its best value.",
    "score_by_dropout": "A panel for each placement. Dashed: the best score without dropout, with any other "
    "settings; only twins show what dropout is worth.",
    "parallel_coordinates": "One line a complete trial, coloured by rank: blue the best, orange the worst. "
    "Drag along an axis to select trials, drag a name to move its axis.",
    "importances": "PED-ANOVA on the complete trials. Grey: no larger than with shuffled scores.",
    "curves": "One line a trial. Dotted: stopped early. The best one is thick, with a star at its "
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
    figure: Any = None


def outline(found: SearchView, top: int = 20) -> list[Section]:
    """Lists the sections of the summary, of the description in MLflow and of the page in a notebook."""
    opening = Section("", list(_outcome(found)))
    if found.best is None:
        return [opening]
    trials = Section("Best trials", table=best_trials(found, top))
    return [opening, *_dropout(found), trials, Section("", found.where)]


def full_outline(found: SearchView) -> list[Section]:
    """Lists the sections of the report."""
    search, frame = found.search, found.trials
    constant = [name for name in found.hyperparameters if name not in found.varying]
    hidden = ["trial_id", "mlflow_run_id", *constant]
    drawn = {
        name: Section(unescape(each.layout.title.text), note=_CAPTIONS[name], figure=each)
        for name, each in figures(found).items()
    }
    sections = [Section("", list(_outcome(found)))]
    picture = next((each for each in ("gains", "score_by_dropout") if each in drawn), None)
    sections += [drawn.pop(picture)] if picture else []
    sections += _dropout(found)
    sections += drawn.values()
    note = "Best first. Click a column to sort by it. Values that all trials share are among the settings."
    trials = _rounded(found, frame.drop(columns=hidden))
    sections.append(Section("Trials", note=note, table=trials))
    # Pruned trials may have messages too.
    fine = set(frame["number"][frame["state"].isin([TrialState.COMPLETE, TrialState.PRUNED])])
    failures = [
        (each.number, each.message)
        for each in sorted(found.records.trials.values(), key=lambda each: each.number)
        if each.message and each.number not in fine
    ]
    if failures:
        lines = [f"trial {number}: `{exception_line(message)}`" for number, message in failures]
        errors = (f"trial {n}: {failure_text(text)[:_LONGEST_ERROR]}" for n, text in failures)
        sections.append(Section("Trials that failed", lines, text="\n\n".join(errors)))
    if search.space:
        sections.append(Section("Search space", text=search.space))
    settings = {
        "tuner": search.tuner,
        "experiment": search.experiment,
        "max_trials": search.max_trials,
        found.objective: found.records.direction,
        **{name: value for name in constant for value in frame[name].head(1).dropna()},
        "began": time.strftime("%Y-%m-%d %H:%M", time.localtime(found.records.began)),
        **search.info,
        **{name: version(name) for name in ("mlflow", "plotly")},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    table = pd.DataFrame(settings.items(), columns=["setting", "value"])
    return [*sections, Section("Settings and versions", table=table), Section("", found.where)]


def _outcome(found: SearchView) -> Iterator[str]:
    """Yields the verdict of a confirmation, the best score and configuration, and the baselines."""
    name, best, records = found.objective, found.best, found.records
    yield from _nothing_learned(found)
    if found.confirmation is not None:
        yield from found.confirmation.verdict.splitlines()
    elif best is not None and not found.by_wrapper.empty:
        yield after_advice(train_longer(records), _answer(found))
    elif (longer := train_longer(records)) is not None:
        yield f"{longer}."
    counts = found.trials["state"].value_counts(sort=False)  # The complete ones come first.
    states = ", ".join(f"{number} {str(state).lower()}" for state, number in counts.items())
    if best is None:
        yield f"No trial is complete: {states}." if states else "No trial has started."
        return
    top = found.complete.iloc[0] if len(found.complete) else best
    spread, score = top.get(spread_column(name), math.nan), amount(top[name])
    if several := not pd.isna(spread):
        trainings = records.trials[top["trial_id"]].trainings
        score += f" ± {amount(spread)} over {trainings} {found.training_word}s"
    where = "" if found.confirmation is None else " in the search"
    yield f"{len(found.trials)} trials, {states}. Best {name}{where}: {score}"
    if found.confirmation is not None:
        row, which = found.confirmation.best, found.confirmation.names[found.confirmation.best_id]
        search = "" if pd.isna(row["search"]) else f" (in the search: {amount(row['search'])})"
        seeds = f"{row['n']} fresh seed{'s' if row['n'] != 1 else ''}"
        yield f"Chosen by confirmation: {which}, mean {amount(row['mean'])} over {seeds}{search}"
    best_id = found.ranking[0]
    values = (f"{each}={shown(value, each)}" for each, value in found.values_of(best_id).items())
    yield f"Best configuration: {', '.join(values)}"
    learned = best[learned_rate_columns(found.trials)].dropna()
    if best_id == best["trial_id"] and len(learned):
        values = (f"{each}={shown(rate)}" for each, rate in learned.items())
        yield f"Its learned rates: {', '.join(values)}"
    if (early := no_more_words(records)) is not None:
        stopped = records.no_more is not None and records.no_more.reason == STOPPED
        yield f"{early} To resume, run it again with the same folder." if stopped else early
    if several and found.confirmation is None:
        fold = found.training_word == "fold"
        part = ", which was not trained on all data" if fold else ""
        yield f"The best model has the weights of its best {found.training_word}{part}."
    advice = (standing.same_dropouts(records), standing.never_tried(found.by_wrapper))
    yield from filter(None, advice)
    if len(records.backends) > 1:  # One seed gives other numbers there.
        yield f"Run on several backends: {', then '.join(records.backends)}."
    yield from _data(found)


def _nothing_learned(found: SearchView) -> Iterator[str]:
    """Yields a warning if the best trial is less than 5 % better than a constant predictor."""
    context, name = found.search.context, found.objective
    if found.best is None or context is None or context.constant is None:
        return
    constant = context.constant
    what, score = "the best trial", found.best[name]
    if found.confirmation is not None:
        what, score = "the mean of the chosen configuration", found.confirmation.best["mean"]
    if not is_clearly_better(score, constant, found.records.direction):
        yield (
            f"Warning: {what} ({name} {amount(score)}) is not clearly better than always predicting "
            f"{context.predicts} ({amount(constant)}). Train for more epochs, try other learning "
            "rates, or look at the data."
        )


def is_clearly_better(score: float, constant: float, direction: str) -> bool:
    """Returns whether a score is at least 5 % better than a constant predictor's.

    A loss has to be 5 % lower. Where more is better, the score has to close 5 % of the gap to 1, because no
    accuracy is 5 % above 98 %.
    """
    if direction == "min":
        gain, gap = constant - score, abs(constant)
    else:
        gain, gap = score - constant, abs(1 - constant)
    return gain > 0 and gain >= 0.05 * gap


def _answer(found: SearchView) -> str:
    """Writes which dropout was best in the search, where and how much, and what it was worth."""
    name, gain, order = found.objective, found.gain, standing.ranked(found.records)
    dropping = next((each for each in order if drops(each.hyperparameters)), None)
    if dropping is None:
        return "What dropout is worth is not known: no trial with dropout was completed."
    best = f"trial {dropping.number} ({dropout_words(dropping.hyperparameters)})"
    best = f"{best}, {name} {amount(dropping.score or 0.0)}"
    if dropping is order[0]:
        best = f"Best in the search: {best}"
    else:
        best = f"The best trial in the search has no dropout. Best with dropout: {best}"
    if gain is None:
        why = "its twin, the same settings without dropout, was not completed"
        if not all(NONE in each for each in found.offered.values()):
            why = "the space does not offer `none`"
        how = " `confirm=1` trains and compares both." if found.by_tune else ""
        return f"{best}. What its dropout is worth is not known: {why}.{how}"
    twin = f"the same without dropout has {amount(gain.twin_score)} (trial {gain.twin.number})"
    number = gain.trial.trainings
    each = f"{number} {found.training_word}s each" if number > 1 else "one training each"
    if gain.value <= 0:
        how = "; `confirm=3` checks whether that holds" if found.by_tune else ""
        return f"{best}; {twin}. No gain in {each}{how}."
    luck = f"This gain, {amount(gain.value)}, is from {each}"
    if gain.value < gain.spread:
        luck += f", whose scores vary more (standard deviation {amount(gain.spread)})"
    luck += ". The best of many trials is partly lucky"
    if not math.isnan(gain.expected):
        again = f"about {amount(gain.expected)}" if gain.expected > 0 else "none"
        luck += f": with other seeds expect {again}"
    how = " `confirm=3` checks this." if found.by_tune else ""
    return f"{best}; {twin}. {luck}.{how}"


def _data(found: SearchView) -> Iterator[str]:
    """Yields the data, and what a constant predictor scores."""
    context = found.search.context
    if context is None:
        return
    if context.words:
        yield f"Data: {context.words}."
    if context.constant is not None:
        score = f"{found.objective} {amount(context.constant)}"
        yield f"Always predicting {context.predicts} scores {score}."


def _dropout(found: SearchView) -> Iterator[Section]:
    """Yields what dropout is worth: by the confirmation, or by the search alone."""
    if found.by_wrapper.empty:
        return
    if found.confirmation is not None:
        note = (
            "Trained again after the search, all with the same fresh seeds. `gain` is over the same settings "
            "without dropout (`twin`). The 95 % intervals hold for all configurations together, whenever it "
            "stopped."
        )
        yield Section("Confirmation", [], note, found.confirmation.brief())
    table = found.by_wrapper
    table = table.assign(best=_written(table["best"]), gain=_written(table["gain"], gained))
    if (table["layer"] == "").all():
        table = table.drop(columns="layer")
    note = "`gain` is over the same settings without dropout, if both were trained to the end."
    yield Section("Best of each wrapper in the search", [], note, table)


def _written(scores: pd.Series[Any], write: Callable[[float], str] = amount) -> pd.Series[Any]:
    """Writes scores as the sentences do."""
    return scores.astype(object).map(write, na_action="ignore")


def _rounded(found: SearchView, trials: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame of trials with the objective and its spread as text."""
    names = [found.objective, spread_column(found.objective)]
    return trials.astype(object).assign(**{n: _written(trials[n]) for n in names if n in trials})


def best_trials(found: SearchView, top: int) -> pd.DataFrame:
    """Returns the first trials, with the columns in which trials differ."""
    name = found.objective
    spread = [each for each in [spread_column(name)] if each in found.trials]
    columns = ["number", "state", *found.varying, name, *spread, "best_epoch", "seconds"]
    table = _rounded(found, found.trials[columns].head(top))
    if "wrapper" in found.wrappers and {"wrapper", "rate"} <= {*table}:
        learns = [each for each, technique in TECHNIQUES.items() if technique.learns_rate]
        table.loc[table["wrapper"].isin(learns), "rate"] = "learned"
    return table
