"""The words of an answer: how sure it is, what has failed, which model is better, and advice."""

from __future__ import annotations

import math
from collections.abc import Iterator

from recdrop_tune import standing
from recdrop_tune.errors import exception_line
from recdrop_tune.records import Records
from recdrop_tune.results.intervals import (
    HELPED,
    HURT,
    MOST_SEEDS,
    NO_DIFFERENCE,
    NOT_KNOWN,
    PairedGain,
    seeds_to_decide,
)
from recdrop_tune.results.paired_trainings import PairedTrainings, looks_of
from recdrop_tune.standing import format_number

_BEST = 5
"""How many best trials `format_advice` looks at."""


def format_count(number: int, noun: str) -> str:
    """Writes a number of things, such as `1 training` or `5 trainings`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def format_difference(gain: float) -> str:
    """Writes how much better something is: `0.0123 better`, `0.0123 worse`, or `no better` for zero."""
    return (
        f"{format_number(abs(gain))} {'worse' if gain < 0 else 'better'}" if gain else "no better"
    )


def deciding_interval(gain: PairedGain) -> tuple[str, float, float]:
    """Returns the interval that decided: its level and its ends."""
    if gain.tested is not None:
        return "90 %", *gain.tested
    return "95 %", gain.low, gain.high


def format_failures(trainings: PairedTrainings, other: str) -> Iterator[str]:
    """Yields which trainings have failed: those that have not may be the lucky ones."""
    for own, base in trainings.asked.pairs:
        gain = trainings.judged[own]
        failed, of_base = gain.failed
        if failed or of_base:
            messages = trainings.trainings(own if failed else base)["message"].dropna()
            why = f" ({exception_line(messages.iloc[0])})" if len(messages) else ""
            yield (
                f"Of {trainings.names[own]} {failed} of {gain.seeds} trainings failed, {other} "
                f"{of_base}{why}."
            )


def format_more_seeds(trainings: PairedTrainings, name: str, expected: float) -> Iterator[str]:
    """Yields how many more seeds would decide what is open, if they find what is `expected`."""
    gain, margin = trainings.judged[name], trainings.margin(trainings.metric)
    is_open = gain.outcome == NOT_KNOWN and name in trainings.in_question
    if not (is_open and gain.error > 0) or any(gain.failed):
        return
    what = "would show a difference of this size"
    # Then seeds show that it is within the margin sooner than that it is not 0.
    if 2 * abs(expected) < margin:
        what = f"would show that the difference is less than {format_number(margin)}"
    known = gain, expected, looks_of(trainings.records), margin, trainings.asked.number
    if seeds := seeds_to_decide(*known, begun=gain.seeds):
        yield f"About {format_count(seeds - gain.seeds, 'more seed')} {what}."
    elif seeds := seeds_to_decide(*known):
        yield f"More seeds are unlikely to decide; planned from the start, about {seeds} {what}."
    else:
        yield f"No number of seeds up to {MOST_SEEDS} is likely to decide."


# The answer of a comparison of models.


def format_comparison(comparison: PairedTrainings) -> str:
    """Writes whether models are better than the baseline: the best of them first."""
    lead = comparison.lead
    if lead is None:
        names = ", ".join(comparison.names[name] for name in comparison.order)
        scored = f"scores exist only for {names}" if names else "none has a score"
        sentences = [f"Which model is better is not known: {scored}."]
    else:
        others = [name for name in comparison.order if name in comparison.judged and name != lead]
        sentences = [_compared(comparison, name) for name in [lead, *others]]
    sentences += format_failures(comparison, f"of {comparison.asked.base}")
    return " ".join([*sentences, *format_advice(comparison.records)])


def _compared(comparison: PairedTrainings, name: str) -> str:
    gain, records = comparison.judged[name], comparison.records
    model, baseline = comparison.names[name], comparison.asked.base
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
    level, *ends = deciding_interval(gain)
    low, high = sorted(sign * end for end in ends)
    way, seeds = (
        "lower" if records.cost(sign) > 0 else "higher",
        format_count(gain.trainings, "seed"),
    )
    difference = f"{comparison.metric} {way} by {format_number(abs(gain.gain))}"
    proof = f"{level} interval {format_number(low)} to {format_number(high)}, {seeds}"
    if math.isnan(low):
        proof = f"{seeds}, which prove{'s' * (gain.trainings == 1)} nothing"
    answer = f"{outcomes[gain.outcome]}: {difference} ({proof})."
    return " ".join([answer, *format_more_seeds(comparison, name, gain.gain)])


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
