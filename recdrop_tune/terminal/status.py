"""How a search stands: what its progress lines and its live display tell."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from recdrop_tune import events
from recdrop_tune.events import QUESTIONS, Records, TrialRecord, asked, has_wrapper, is_twin

_BASELINE = "none"


class Standing:
    """Reads off the records of a search what is worth telling of it while it runs.

    Args:
        records: The records, which grow.
        workers: How many trials run at the same time.
    """

    def __init__(self, records: Records, workers: int = 1) -> None:
        self.records = records
        self._workers = workers

    @property
    def objective(self) -> str:
        """Name of the objective."""
        return self.records.search.objective if self.records.search else "objective"

    @property
    def total(self) -> int | None:
        """The most trials that are run, where that is known."""
        return self.records.search.max_trials if self.records.search else None

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial so far."""
        return self._best(self.records.trials.values())

    def ranked(self) -> list[TrialRecord]:
        """Returns the complete trials so far, best first."""
        return self._ranked(self.records.trials.values())

    @property
    def baseline(self) -> TrialRecord | None:
        """The best complete trial so far that has no dropout."""
        every = self.records.trials.values()
        return self._best(each for each in every if has_wrapper(each.hyperparameters, _BASELINE))

    @property
    def gain(self) -> float | None:
        """By how much the best trial beats the same settings without dropout; `None` if that is not known."""
        record = self.best
        best = score_of(record)
        if record is None or best is None or has_wrapper(record.hyperparameters, _BASELINE):
            return None
        for each in self.records.trials.values():
            if each.state == events.COMPLETE and is_twin(
                record.hyperparameters, each.hyperparameters
            ):
                without = score_of(each)
                return None if without is None else self._sign * (without - best)
        return None

    def counts(self) -> dict[str, int]:
        """Counts the trials that are over by how they ended, the most frequent first."""
        states = Counter(each.ended.status for each in self.records.trials.values() if each.ended)
        return {state.lower(): number for state, number in states.most_common()}

    def seconds_left(self, now: float, begins_more: bool = True) -> float | None:
        """Estimates how long the trials to come take; `None` before the first one is over.

        Args:
            now: Wall-clock time: what trials under way have had is not to come any more.
            begins_more: Whether the search begins more trials.
        """
        trials, search = self.records.trials.values(), self.records.search
        running = {record.trial_id for record in self.records.running}
        # Broken off with the search, or killed with its process: they run again.
        interrupted = [
            each
            for each in trials
            if each.state == events.INTERRUPTED or not (each.ended or each.trial_id in running)
        ]
        took = [each.seconds for each in trials if each.seconds and each not in interrupted]
        if search is None or search.max_trials is None or not took:
            return None
        mean = sum(took) / len(took)
        begun = sum(max(0.0, mean - (now - record.started)) for record in self.records.running)
        most = min(search.max_trials, search.configurations or search.max_trials)
        waiting = max(0, most - len(trials) + len(interrupted)) * mean * begins_more
        left = (waiting + begun) / self._workers
        limit = search.info.get("timeout")
        return min(left, max(0.0, search.time + float(limit) - now)) if limit else left

    def forecast(self, now: float) -> str | None:
        """Says after the first trial how long all of them take; else, and of the only one, `None`."""
        trials, search = self.records.trials.values(), self.records.search
        ended = [each for each in trials if each.ended and each.state != events.INTERRUPTED]
        left = self.seconds_left(now)
        if search is None or len(ended) != 1 or not left:
            return None
        until = time.localtime(now + left)
        day = "%H:%M" if until[:3] == time.localtime(now)[:3] else "%Y-%m-%d %H:%M"
        return (
            f"Going by the first trial, all of them take about {duration(now - search.time + left)}, until "
            f"{time.strftime(day, until)}."
        )

    @property
    def confirmed(self) -> int:
        """How many trainings of the confirmation under way are done."""
        confirming = self.records.confirming
        if confirming is None:
            return 0
        wanted = {(id, False) for id in confirming.trial_ids} | {
            (id, True) for id in confirming.twins
        }
        repeats = confirming.total // max(len(wanted), 1)  # An earlier one may have had more.
        done = (each for each in self.records.confirmations if each.score is not None)
        known = {(each.trial_id, each.twin, each.repeat) for each in done if each.repeat < repeats}
        return sum(key[:2] in wanted for key in known)

    def confirmation_left(self) -> float | None:
        """Estimates how long the confirmation still takes; `None` before its first training is over."""
        took = [each.seconds for each in self.records.confirmations]
        if self.records.confirming is None or not took:
            return None
        left = self.records.confirming.total - self.confirmed
        return left * sum(took) / len(took) / self._workers

    def position(self, record: TrialRecord) -> str:
        """Writes which of how many trials one is."""
        return f"trial {record.number + 1}" + (f"/{self.total}" if self.total else "")

    def epoch(self, event: events.EpochEnded) -> str:
        """Writes which of how many epochs one is, and of which training of its trial, counted from 1."""
        total = self.records.search.info.get("epochs") if self.records.search else None
        training = f"training {event.execution + 1} " if event.execution else ""
        return f"{training}epoch {event.epoch + 1}" + (f"/{total}" if total else "")

    def now(self, record: TrialRecord) -> str:
        """Writes what a trial that is under way is at."""
        said = [f"trial {record.number + 1}", details_of(record)]
        epochs = record.repeats or record.epochs
        if not epochs:
            return "  ".join([*said, "building"])
        last = epochs[-1]
        said.append(self.epoch(last))
        names = dict.fromkeys(("loss", self.objective))
        said += [f"{name} {amount(last.metrics[name])}" for name in names if name in last.metrics]
        return "  ".join(said)

    @property
    def _sign(self) -> int:
        search = self.records.search
        return -1 if search is not None and search.direction == "max" else 1

    def _best(self, records: Iterable[TrialRecord]) -> TrialRecord | None:
        return next(iter(self._ranked(records)), None)

    def _ranked(self, records: Iterable[TrialRecord]) -> list[TrialRecord]:
        # A pruned trial has a score too, and is not among those that count.
        complete = (each for each in records if each.state == events.COMPLETE)
        scored = [(each, score) for each in complete if (score := score_of(each)) is not None]
        return [each for each, _ in sorted(scored, key=lambda pair: self._sign * pair[1])]


def score_of(record: TrialRecord | None) -> float | None:
    """Returns the score of a trial, if it has one that is a number."""
    score = record.ended.score if record and record.ended else None
    return score if score is not None and math.isfinite(score) else None


def amount(value: Any) -> str:
    """Writes a score or a difference with four decimals, and very large and tiny ones with an exponent.

    Example:
        >>> amount(0.01234), amount(0.00001234), amount(1e30)
        ('0.0123', '1.2e-05', '1.0000e+30')
    """
    if abs(value) >= 1e6:
        return f"{value:.4e}"
    text = f"{value:.4f}"
    return f"{value:.1e}" if value and float(text) == 0.0 else text


def gained(value: float) -> str:
    """Writes a gain, or that there is none."""
    return amount(value) if value else "no gain"


def gain_words(gain: float) -> str:
    """Writes a gain over the twin.

    Example:
        >>> gain_words(0.0123), gain_words(0.0)
        ('gain 0.0123 over the same without dropout', 'no gain over the same without dropout')
    """
    return f"{'gain ' if gain else ''}{gained(gain)} over the same without dropout"


def dropout_of(hyperparameters: Mapping[str, object]) -> str:
    """Writes which dropout a trial has, where, and how much, layer by layer."""
    layers = asked(hyperparameters).items()
    return "; ".join((f"{name} " if name else "") + _words(values) for name, values in layers)


def details_of(record: TrialRecord) -> str:
    """Writes the hyperparameters of a trial that are not the same in every trial."""
    values = {name: value for name, value in record.hyperparameters.items() if value is not None}
    names = [name for name in QUESTIONS if name in values]
    names += [name for name in values if name not in [*names, *record.fixed]]
    return " ".join(f"{name}={_short(values[name])}" for name in names)


def best_words(records: Records) -> str | None:
    """Writes the best complete trial and its hyperparameters into a line; `None` where there is none."""
    standing = Standing(records)
    best = standing.best
    if best is None:
        return None
    details = details_of(best)
    score = f"{standing.objective} {amount(score_of(best))}{' with ' if details else ''}{details}"
    return f"{score} (trial {best.number + 1})"


def no_more_words(records: Records) -> str | None:
    """Says why a search begins no more trials before it has had as many as it might; `None` if it does."""
    early, search = records.no_more, records.search
    if early is None or search is None:
        return None
    most = "" if search.max_trials is None else f" of at most {search.max_trials}"
    number = len(records.trials)
    if early.reason == events.STOPPED:
        return f"Stopped by request after {number}{most} trials."
    if early.tried != early.configurations:
        return (
            f"The tuner found no further configuration after {number}{most} trials: it has tried "
            f"{early.tried} of the {early.configurations} that the search space has."
        )
    return (
        f"The search space is exhausted after {number}{most} trials: all its {early.configurations} "
        "configurations were tried."
    )


def duration(seconds: float) -> str:
    """Writes a number of seconds as people do: 12s, 2m10s, 3h05m."""
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _words(values: Mapping[str, object]) -> str:
    named = ("rate", "schedule")
    words = (f"{key} {value}" if key in named else str(value) for key, value in values.items())
    return ", ".join(words)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
