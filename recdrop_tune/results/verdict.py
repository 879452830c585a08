"""The words of any answer: how sure it is, what has failed, and advice."""

from __future__ import annotations

from collections.abc import Iterator

from recdrop_tune import standing
from recdrop_tune.errors import exception_line
from recdrop_tune.records import Records
from recdrop_tune.results.intervals import MOST_SEEDS, NOT_KNOWN, PairedGain, seeds_to_decide
from recdrop_tune.results.paired_trainings import PairedTrainings
from recdrop_tune.standing import format_number

_BEST = 5
"""How many best trials `format_advice` looks at."""


def format_count(number: int, noun: str) -> str:
    """Writes a number of things, such as `1 training` or `5 trainings`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def format_difference(gain: float) -> str:
    """Writes how much better something is: `0.0123 better`, `0.0123 worse`, or `no better` for zero."""
    if not gain:
        return "no better"
    return f"{format_number(abs(gain))} {'worse' if gain < 0 else 'better'}"


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
    known = gain, expected, trainings.looks, margin, trainings.asked.number
    if seeds := seeds_to_decide(*known, begun=gain.seeds):
        yield f"About {format_count(seeds - gain.seeds, 'more seed')} {what}."
    elif seeds := seeds_to_decide(*known):
        yield f"More seeds are unlikely to decide; planned from the start, about {seeds} {what}."
    else:
        yield f"No number of seeds up to {MOST_SEEDS} is likely to decide."


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
