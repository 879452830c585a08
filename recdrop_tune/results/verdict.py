"""The words of an answer: which dropout to use, what it is worth, and how sure that is.

After a confirmation they are about its intervals, and otherwise about the search alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from recdrop_tune import standing
from recdrop_tune.errors import exception_line
from recdrop_tune.events import Configuration
from recdrop_tune.hyperparameters import NONE, drops
from recdrop_tune.records import Records
from recdrop_tune.results.intervals import HELPED, HURT, NO_DIFFERENCE, NOT_KNOWN, PairedGain
from recdrop_tune.standing import Gain, format_number
from recdrop_tune.terminal import format_dropout

if TYPE_CHECKING:
    from recdrop_tune.results.confirmation import Confirmation
    from recdrop_tune.results.model_comparison import ModelComparison
    from recdrop_tune.results.view import SearchView

_BEST = 5
"""How many best trials `format_advice` looks at."""

_UNKNOWN = "whether dropout helped is not known"

_ELSEWHERE = {
    HELPED: "It helped in",
    HURT: "It hurt in",
    NO_DIFFERENCE: "It makes no difference in",
    NOT_KNOWN: "It is not known of",
}
"""How a sentence about the other configurations of an outcome begins."""


def format_count(number: int, noun: str) -> str:
    """Writes a number of things, such as `1 training` or `5 trainings`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def format_difference(gain: float) -> str:
    """Writes how much better something is: `0.0123 better`, `0.0123 worse`, or `no better` for zero."""
    return (
        f"{format_number(abs(gain))} {'worse' if gain < 0 else 'better'}" if gain else "no better"
    )


def format_configuration(records: Records, configuration: Configuration) -> str:
    """Names a configuration: `trial 3 (recurrent, recurrent, rate 0.3)`."""
    name = f"trial {records.trials[configuration.trial_id].number}"
    if configuration.dropout_of is not None:
        other = format_configuration(records, Configuration(configuration.dropout_of))
        return f"{name} with the dropout of {other}"
    values = records.trials[configuration.trial_id].active
    if configuration.twin or not drops(values):
        return f"{name} without {'its ' * configuration.twin}dropout"
    return f"{name} ({format_dropout(values)})"


# The verdict of a confirmation.


def format_verdict(confirmation: Confirmation) -> str:
    """Writes what a confirmation has shown, in a few sentences."""
    sentences = [*_sentences(confirmation), *_failures(confirmation, "without its dropout")]
    return " ".join([*sentences, *format_advice(confirmation.records)])


def _sentences(confirmation: Confirmation) -> Iterator[str]:
    names, lead = confirmation.names, confirmation.dropping_id
    yield f"Use {names[confirmation.best_id]}: {_answer(confirmation)}."
    if (first := confirmation.order[0]) != confirmation.best_id:
        yield (
            f"{names[first][0].upper()}{names[first][1:]} has the better mean "
            f"{confirmation.records.objective}, but is not known to be better."
        )
    if lead is None or lead not in confirmation.judged:
        return
    gain = confirmation.judged[lead]
    if (repeat := gain.far_off) is not None:
        runs = confirmation.runs
        seed = runs["seed"][runs["repeat"] == repeat].iloc[0]
        difference = format_difference(gain.differences[repeat])
        yield f"With seed {seed}, {names[lead]} is {difference}, far from the other seeds."
    for outcome, begin in _ELSEWHERE.items():
        others = [name for name, each in confirmation.outcomes.items() if each == outcome]
        if others := [names[name] for name in others if name != lead]:
            yield f"{begin} {', '.join(others)}{' too' * (outcome == gain.outcome)}."


def _answer(confirmation: Confirmation) -> str:
    """Writes what the dropout of the recommended configuration is worth, or that of another one."""
    lead = confirmation.dropping_id
    if lead is None:
        return f"{_UNKNOWN}, because no configuration with dropout was completed"
    is_best = lead == confirmation.best_id
    name = "it" if is_best else confirmation.names[lead]
    gain = confirmation.judged.get(lead)
    if gain is None or math.isnan(gain.gain):
        return f"{_UNKNOWN}, because {name} was not trained without its dropout"
    outcomes = {
        HELPED: "dropout helped" + " only elsewhere" * (not is_best),
        HURT: "dropout hurt",
        NO_DIFFERENCE: "dropout makes no difference of more than "
        f"{format_number(confirmation.margin(confirmation.metric))}",
        NOT_KNOWN: _UNKNOWN,
    }
    proven = not math.isnan(gain.low)
    about = "about " * (proven and confirmation.gain != 0)
    difference = f"{about}{format_difference(confirmation.gain)} in {confirmation.metric}"
    return f"{outcomes[gain.outcome]}; {name} is {difference} than the same without dropout ({_proof(gain)})"


def _proof(gain: PairedGain) -> str:
    if math.isnan(gain.low):
        return f"{format_count(gain.trainings, 'training')} each, which proves nothing"
    level, low, high = _interval(gain)
    seeds = format_count(gain.trainings, "fresh seed")
    return f"{level} interval of the gain {format_number(low)} to {format_number(high)}, {seeds}"


def _interval(gain: PairedGain) -> tuple[str, float, float]:
    """Returns the interval that decided: its level and its ends."""
    if gain.tested is not None:
        return "90 %", *gain.tested
    return "95 %", gain.low, gain.high


def _failures(trainings: Confirmation | ModelComparison, other: str) -> Iterator[str]:
    """Yields which trainings have failed: those that have not may be the lucky ones."""
    for own, base in trainings.pairs:
        gain = trainings.judged[own]
        failed, of_base = gain.failed
        if failed or of_base:
            messages = trainings.trainings(own if failed else base)["message"].dropna()
            why = f" ({exception_line(messages.iloc[0])})" if len(messages) else ""
            yield (
                f"Of {trainings.names[own]} {failed} of {gain.seeds} trainings failed, {other} "
                f"{of_base}{why}."
            )


# The answer of a comparison of models.


def format_comparison(comparison: ModelComparison) -> str:
    """Writes whether models are better than the baseline: the best of them first."""
    lead = comparison.lead
    if lead is None:
        names = ", ".join(comparison.names[name] for name in comparison.order)
        scored = f"scores exist only for {names}" if names else "none has a score"
        sentences = [f"Which model is better is not known: {scored}."]
    else:
        others = [name for name in comparison.order if name in comparison.judged and name != lead]
        sentences = [_compared(comparison, name) for name in [lead, *others]]
    sentences += _failures(comparison, f"of {comparison.models[0]}")
    return " ".join([*sentences, *format_advice(comparison.records)])


def _compared(comparison: ModelComparison, name: str) -> str:
    gain, records = comparison.judged[name], comparison.records
    model, baseline = comparison.names[name], comparison.models[0]
    outcomes = {
        HELPED: f"{model} is better than {baseline}",
        HURT: f"{model} is worse than {baseline}",
        NO_DIFFERENCE: f"Between {model} and {baseline} there is no difference of more than "
        f"{format_number(comparison.margin(comparison.metric))}",
        NOT_KNOWN: f"Whether {model} is better than {baseline} is not known",
    }
    if math.isnan(gain.gain):
        return f"{outcomes[NOT_KNOWN]}: no seed has trained both."
    if not any(gain.differences.values()):
        return f"{model} and {baseline} have the same scores with each seed."
    sign = -1 if gain.gain < 0 else 1
    level, *ends = _interval(gain)
    low, high = sorted(sign * end for end in ends)
    way, seeds = (
        "lower" if records.cost(sign) > 0 else "higher",
        format_count(gain.trainings, "seed"),
    )
    difference = f"{comparison.metric} {way} by {format_number(abs(gain.gain))}"
    proof = f"{level} interval {format_number(low)} to {format_number(high)}, {seeds}"
    if math.isnan(low):
        proof = f"{seeds}, which prove{'s' * (gain.trainings == 1)} nothing"
    return f"{outcomes[gain.outcome]}: {difference} ({proof})."


def format_advice(records: Records) -> Iterator[str]:
    """Yields advice: to measure on validation data, and to train longer."""
    reported = [each.metrics for each in records.trials.values()]
    reported += [each.metrics for each in records.confirmations]
    if any(f"val_{records.objective}" in metrics for metrics in reported):
        name = records.objective
        yield f"{name} is measured on the training data, which favours overfitting: use val_{name}."
    confirmed = [each.best_epoch for each in records.confirmations if each.score is not None]
    best = confirmed or [each.best_epoch for each in standing.ranked(records)[:_BEST]]
    ends = [each + 1 for each in best if each is not None]
    # More epochs may help if most confirmed trainings, or else the best trials, were best at their end.
    late = sum(end == records.epochs for end in ends)
    if records.epochs != 1 and len(ends) > 1 and 2 * late > len(ends):
        which = "trainings" if confirmed else "best trials"
        yield (
            f"Train longer: after {records.epochs} epochs, {late} of the {len(ends)} {which} had their best "
            "epoch at the end."
        )


# The answer of a search without a confirmation.


def format_search_answer(view: SearchView) -> str:
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
        return f"{best}. {_no_twin(view)}"
    score, number = format_number(view.gain.twin_score), view.gain.twin.number
    twin = f"the same without dropout has {score} (trial {number})"
    return f"{best}; {twin}. {_worth(view, view.gain)}"


def _no_twin(view: SearchView) -> str:
    why = "its twin, the same settings without dropout, was not completed"
    if not all(NONE in wrappers for wrappers in view.offered.values()):
        why = "the space does not offer `none`"
    how = " `confirm=1` trains and compares both." * view.by_tune
    return f"What its dropout is worth is not known: {why}.{how}"


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
