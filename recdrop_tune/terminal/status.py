"""What progress lines and the live display show of a search while it runs: counts, times, and words."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from recdrop_tune import standing
from recdrop_tune.events import (
    CONFIRMATION,
    CONVERGED,
    MAX_TRIALS,
    STOPPED,
    TIMEOUT,
    ConfirmationStarted,
    EpochEnded,
)
from recdrop_tune.hyperparameters import drops
from recdrop_tune.records import QUESTIONS, Records, TrialRecord, dropout_settings
from recdrop_tune.standing import format_number, format_value
from recdrop_tune.states import TrialState


def counts(records: Records) -> dict[str, int]:
    """Counts the trials that do not run by their state, the most frequent first."""
    states = Counter(each.state for each in records.trials.values())
    del states[TrialState.RUNNING]
    return {state.lower(): number for state, number in states.most_common()}


def seconds_left(
    records: Records, now: float, workers: int = 1, starts_more: bool = True
) -> float | None:
    """Estimates how long the search and its confirmation still take; `None` before the first trial has ended.

    It counts the first round of the confirmation, and later the current one. `now` is wall-clock time, and
    `workers` the number of trials that run at the same time.
    """
    if records.confirming is not None:
        took = [each.seconds for each in records.confirmations]
        done, total = trainings(records)
        return (total - done) * sum(took) / len(took) / workers if took else None
    trials, search, running = records.trials.values(), records.search, records.running
    # Interrupted ones run again.
    begun = [each for each in trials if each.state != TrialState.INTERRUPTED]
    took = [seconds for each in begun if (seconds := each.seconds)]
    if search is None or search.max_trials is None or not took:
        return None
    mean = sum(took) / len(took)
    most = min(search.max_trials, search.configurations or search.max_trials)
    waiting = max(0, most - len(begun)) * mean * starts_more
    # The clock can have been set back.
    started = sum(max(0.0, mean - max(0.0, now - each.started)) for each in running)
    left = (waiting + started) / workers
    limit = search.info.get("timeout")
    if limit:
        left = min(left, max(0.0, search.time + float(limit) - now))
    # A confirmation prunes nothing.
    whole = [each.seconds for each in trials if each.state == TrialState.COMPLETE and each.seconds]
    mean = sum(whole) / len(whole) if whole else mean
    return left + float(search.info.get(CONFIRMATION, 0)) * mean / workers


def format_forecast(records: Records, now: float, workers: int = 1) -> str | None:
    """Writes after the first trial how long the search takes; returns `None` at any other time."""
    trials = records.trials.values()
    ended = sum(each.ended is not None and each.state != TrialState.INTERRUPTED for each in trials)
    left = seconds_left(records, now, workers) if ended == 1 else None
    if records.search is None or not left:
        return None
    until = time.localtime(now + left)
    day = "%H:%M" if until[:3] == time.localtime(now)[:3] else "%Y-%m-%d %H:%M"
    return (
        "Going by the first trial, the search takes about "
        f"{format_duration(records.seconds + left)}, until {time.strftime(day, until)}."
    )


def trainings(records: Records) -> tuple[int, int]:
    """Counts the trainings of the confirmation: the finished ones, and all that its rounds so far ask for."""
    wanted = {
        (name, repeat)
        for each in records.rounds
        for name in each.configurations
        for repeat in range(each.seeds)
    }
    done = {each.key for each in records.confirmations} - records.failed_before
    return len(wanted & done), len(wanted)


# In words.


class Wording(NamedTuple):
    """Words for trainings with fresh seeds. `limit` is the argument that a resumed search may raise."""

    verb: str
    noun: str
    question: str
    phase: str
    limit: str


_CONFIRMATION = Wording(
    "Confirming", "configuration", "what dropout is worth", " of the confirmation", "max_trials"
)
_COMPARISON = Wording("Training", "model", "which is better", "", "max_seeds")


def wording(records: Records) -> Wording:
    """Returns the words for what the trainings with fresh seeds ask."""
    return _COMPARISON if records.models else _CONFIRMATION


def format_round(records: Records, event: ConfirmationStarted) -> str | None:
    """Writes what a round of the confirmation trains; returns `None` if it trains nothing."""
    number, words = len(event.configurations), wording(records)
    noun = words.noun + "s" * (number > 1)
    start = f"{words.verb} {number} {noun} with {event.seeds} fresh seeds each"
    every = {(name, repeat) for name in event.configurations for repeat in range(event.seeds)}
    missing = every - {each.key for each in records.confirmations} | every & records.failed_before
    if not missing:  # It has another margin.
        return None
    if missing == every:
        most = number * event.max_seeds
        more = f", {most} if it takes {event.max_seeds} seeds to know {words.question}"
        return f"{start}: {event.total} trainings{more if most > event.total else ''}."
    more = f"{start}: {len(missing)} more training{'s' * (len(missing) > 1)}"
    if failed := len(missing & records.failed_before):
        more += f", because {failed} failed"
    before = max((each.seeds for each in records.rounds[:-1]), default=event.seeds)
    return f"{'Not known yet. ' * (event.seeds > before)}{more}."


def format_trainings(records: Records) -> str:
    """Writes how many trainings of the confirmation have ended: `confirming 3/10`."""
    done, total = trainings(records)
    return f"{wording(records).verb.lower()} {done}/{total}"


def format_epoch(records: Records, event: EpochEnded) -> str:
    """Writes which epoch it is, out of how many: `training 2 epoch 3/10`."""
    total = records.epochs
    training = f"training {event.execution + 1} " if event.execution else ""
    return f"{training}epoch {event.epoch + 1}" + (f"/{total}" if total else "")


def format_running(records: Records, record: TrialRecord) -> str:
    """Writes what a running trial is doing."""
    parts = [f"trial {record.number}", format_configuration(record)]
    epochs = record.repeats or record.epochs
    if not epochs:
        return "  ".join([*parts, "building"])
    last = epochs[-1]
    names = dict.fromkeys(("loss", records.objective))
    metrics = [
        f"{name} {format_number(last.metrics[name])}" for name in names if name in last.metrics
    ]
    return "  ".join([*parts, format_epoch(records, last), *metrics])


def format_best(records: Records) -> str | None:
    """Writes the best trial so far in one line; returns `None` before the first complete one."""
    best = standing.best(records)
    if best is None:
        return None
    parts = f"{records.objective} {format_number(best.score or 0.0)}", format_configuration(best)
    return f"{' with '.join(filter(None, parts))} (trial {best.number})"


def format_best_gain(records: Records) -> str | None:
    """Writes what the best trial gains by its dropout; returns `None` if its twin was not completed."""
    best = standing.best(records)
    if best is None or not drops(best.hyperparameters):
        return None
    gain = standing.gain(records, trial=best)
    return None if gain is None else f"{gain} over the same without dropout, so far"


def format_ending(records: Records) -> str | None:
    """Writes why a search starts no more trials, and whether more pay; `None` if nothing is worth saying."""
    early, search = records.no_more, records.search
    if early is None or search is None:
        return None
    most = "" if search.max_trials is None else f" of at most {search.max_trials}"
    number = f"{len(records.trials)}{most} trials"
    if records.models:
        number = f"{trainings(records)[0]} trainings"
    reasons = {
        STOPPED: f"Stopped by request after {number}.",
        TIMEOUT: f"The time was over after {number}.",
        CONVERGED: f"Ended by itself after {number}.",
        MAX_TRIALS: "",
    }
    if early.reason in reasons:
        parts = reasons[early.reason], _format_expected_gain(records)
        return " ".join(filter(None, parts)) or None
    if early.tried != early.configurations:
        return (
            f"The tuner found no further configuration after {number}: it has tried {early.tried} of "
            f"the {early.configurations} in the search space."
        )
    return (
        f"The search space is exhausted after {number}: all {early.configurations} configurations "
        "were tried."
    )


def _format_expected_gain(records: Records) -> str:
    """Writes whether more trials pay, if that is known."""
    gain = records.no_more.gain if records.no_more else None
    if gain is None:
        return ""
    # Not the number itself, which is wrong by a factor of up to six (docs/search-efficiency.md).
    verb, than = ("hardly pay", "less") if gain < standing.MIN_GAIN else ("pay", "more")
    of = f"1 - {records.objective}" if records.direction == "max" else records.objective
    return f"More trials {verb}: five are expected to gain {than} than 1 % of {of}."


def format_dropout(hyperparameters: Mapping[str, object]) -> str:
    """Writes which dropout a trial has in each layer, such as `zoneout, recurrent, rate 0.1`."""
    layers = []
    for layer, values in dropout_settings(hyperparameters).items():
        words = (
            f"{key} {format_value(key, value)}" if key == "rate" else str(value)
            for key, value in values.items()
        )
        layers.append((f"{layer} " if layer else "") + ", ".join(words))
    return "; ".join(layers)


def format_configuration(record: TrialRecord) -> str:
    """Writes the dropout of a trial, then its other hyperparameters that are not the same in every trial."""
    others = [n for n in record.active if n.rpartition("/")[2] not in QUESTIONS]
    words = [f"{n} {format_value(n, record.active[n])}" for n in others if n not in record.fixed]
    return ", ".join(filter(None, [format_dropout(record.hyperparameters), *words]))


def format_duration(seconds: float) -> str:
    """Writes a number of seconds as people do: 12s, 2m10s, 3h05m."""
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
