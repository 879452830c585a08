"""How a search stands: what its progress lines and its live display tell."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from recdrop_tune import events
from recdrop_tune.events import QUESTIONS, Records, TrialRecord, asked, has_wrapper, is_twin

_BASELINE = "none"


class Standing:
    """Folds the events of a search into what is worth telling of it while it runs.

    Args:
        history: Earlier events of the search, where it goes on.
        workers: How many trials run at the same time.

    Attributes:
        records: The trials.
        search: The search, once it has begun.
        best: The best trial so far.
        baseline: The best trial so far that has no dropout.
        confirming: The confirmation, once it has begun.
    """

    def __init__(self, history: Iterable[events.Event] = (), workers: int = 1) -> None:
        self.records = Records()
        self.search: events.SearchStarted | None = None
        self.best: TrialRecord | None = None
        self.baseline: TrialRecord | None = None
        self.confirming: events.ConfirmationStarted | None = None
        self._workers = workers
        self._begun: list[str] = []
        for event in history:
            self.on_event(event)

    def on_event(self, event: events.Event) -> None:
        """Takes an event in."""
        self.records.on_event(event)
        match event:
            case events.SearchStarted():
                self.search = event
                self.confirming = None
                self._begun = []  # Those of a search that was killed do not go on.
            case events.SearchEnded():
                self._begun = []
            case events.TrialStarted():
                self._begun.append(event.trial_id)
            case events.ConfirmationStarted():
                self.confirming = event
            # One that was pruned has a score too, and is not among those that count.
            case events.TrialEnded(trial_id=id, status=events.COMPLETE) if (
                id in self.records.trials
            ):
                record = self.records.trials[id]
                self.best = self._better(self.best, record)
                if has_wrapper(record.hyperparameters, _BASELINE):
                    self.baseline = self._better(self.baseline, record)

    @property
    def objective(self) -> str:
        """Name of the objective."""
        return self.search.objective if self.search else "objective"

    @property
    def total(self) -> int | None:
        """The most trials that are run, where that is known."""
        return self.search.max_trials if self.search else None

    @property
    def running(self) -> list[TrialRecord]:
        """The trials under way, in the order of starts."""
        begun = (self.records.trials[id] for id in dict.fromkeys(self._begun))
        return [record for record in begun if record.ended is None]

    @property
    def gain(self) -> float | None:
        """By how much the best trial beats the same settings without dropout; `None` if that is not known."""
        best = score_of(self.best)
        if self.best is None or best is None:
            return None
        own, others = self.best.hyperparameters, self.records.trials.values()
        twins = (each for each in others if is_twin(own, each.hyperparameters))
        without = next((score_of(each) for each in twins if each.state == events.COMPLETE), None)
        if without is None or has_wrapper(own, _BASELINE):
            return None
        return best - without if self._grows else without - best

    def counts(self) -> dict[str, int]:
        """Counts the trials that are over by how they ended, the most frequent first."""
        states = Counter(each.ended.status for each in self.records.trials.values() if each.ended)
        return {state.lower(): number for state, number in states.most_common()}

    def seconds_left(self, now: float) -> float | None:
        """Estimates how long the trials to come take; `None` before the first one is over.

        Args:
            now: Wall-clock time: what trials under way have had is not to come any more.
        """
        took = [each.seconds for each in self.records.trials.values() if each.seconds]
        if self.search is None or self.total is None or not took:
            return None
        mean = sum(took) / len(took)
        begun = sum(max(0.0, mean - (now - record.started)) for record in self.running)
        waiting = max(0, self.total - len(self.records.trials)) * mean
        left = (waiting + begun) / self._workers
        limit = self.search.info.get("timeout")
        return min(left, max(0.0, self.search.time + float(limit) - now)) if limit else left

    @property
    def confirmed(self) -> int:
        """How many trainings of the confirmation under way are done."""
        if self.confirming is None:
            return 0
        wanted = {(id, False) for id in self.confirming.trial_ids}
        wanted |= {(id, True) for id in self.confirming.twins}
        repeats = self.confirming.total // max(len(wanted), 1)  # An earlier one may have had more.
        done = (each for each in self.records.confirmations if each.score is not None)
        known = {(each.trial_id, each.twin, each.repeat) for each in done if each.repeat < repeats}
        return sum(key[:2] in wanted for key in known)

    def confirmation_left(self) -> float | None:
        """Estimates how long the confirmation still takes; `None` before its first training is over."""
        took = [each.seconds for each in self.records.confirmations]
        if self.confirming is None or not took:
            return None
        left = self.confirming.total - self.confirmed
        return left * sum(took) / len(took) / self._workers

    def position(self, record: TrialRecord) -> str:
        """Writes which of how many trials one is."""
        return f"trial {record.number + 1}" + (f"/{self.total}" if self.total else "")

    @property
    def _grows(self) -> bool:
        return self.search is not None and self.search.direction == "max"

    def _better(self, one: TrialRecord | None, other: TrialRecord) -> TrialRecord | None:
        before, score = score_of(one), score_of(other)
        if score is None:
            return one
        sign = -1 if self._grows else 1
        return other if before is None or sign * score < sign * before else one


def score_of(record: TrialRecord | None) -> float | None:
    """Returns the score of a trial, if it has one that is a number."""
    score = record.ended.score if record and record.ended else None
    return score if score is not None and math.isfinite(score) else None


def amount(value: float) -> str:
    """Writes a difference with four decimals, or with the digits that count where these are all zeros.

    Example:
        >>> amount(0.01234), amount(0.00001234)
        ('0.0123', '1.2e-05')
    """
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


def epoch_of(event: events.EpochEnded, search: events.SearchStarted | None) -> str:
    """Writes which of how many epochs one is, and of which training of its trial; people count from 1."""
    total = search.info.get("epochs") if search else None
    training = f"training {event.execution + 1} " if event.execution else ""
    return f"{training}epoch {event.epoch + 1}" + (f"/{total}" if total else "")


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
