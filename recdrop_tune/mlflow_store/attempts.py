"""Takes the events of a search apart: into the attempts at its trials, each with its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from recdrop_tune.events import (
    KILLED,
    ConfirmationEnded,
    EpochEnded,
    Event,
    ModelBuilt,
    Records,
    ResultSaved,
    SearchEnded,
    SearchStarted,
    TrialEnded,
    TrialRecord,
    TrialStarted,
)
from recdrop_tune.mlflow_store.contents import STATUS


@dataclass
class Attempt:
    """One attempt at a trial: a retry is another one, and so is a trial that a crash broke off.

    Attributes:
        started: Its beginning.
        events: What followed, its end included.
        killed: When it was last heard of, where it was broken off.
        superseded: Whether there is a later attempt at the same trial.
    """

    started: TrialStarted
    events: list[Event] = field(default_factory=list)
    killed: float | None = None
    superseded: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from others in MLflow: the trial, and its beginning in milliseconds."""
        return self.started.trial_id, milliseconds(self.started.time)

    @property
    def record(self) -> TrialRecord:
        """What its events say."""
        return Records([self.started, *self.events]).trials[self.started.trial_id]

    @property
    def end(self) -> tuple[str, float] | None:
        """How and when its run ended; `None` while it is under way."""
        record = self.record
        if record.ended is not None and record.ended_at is not None:
            return STATUS[record.ended.status], record.ended_at
        return None if self.killed is None else ("KILLED", self.killed)

    @property
    def state(self) -> str:
        """How it ended, or `RUNNING`."""
        return KILLED if self.killed is not None else self.record.state


@dataclass
class Log:
    """The events of a search, in order.

    Attributes:
        events: All of them.
        first: The first beginning of the search.
        last: The last one: the search may have gone on several times.
        attempts: The attempts at its trials, in the order of their beginnings.
        confirmations: The trainings of its confirmation.
        result: The last result that was saved, unless the search has gone on since.
        ended: Its end; `None` while it is under way.
    """

    events: list[Event]
    first: SearchStarted
    last: SearchStarted
    attempts: list[Attempt]
    confirmations: list[ConfirmationEnded]
    result: ResultSaved | None
    ended: SearchEnded | None


def log_of(events: Iterable[Event], alive: bool) -> Log | None:
    """Takes events apart.

    Args:
        events: All of a search's, in order.
        alive: Whether the search is running, so that an attempt without an end is under way.

    Returns:
        The parts; `None` if the search has not begun.
    """
    events = list(events)
    starts = [event for event in events if isinstance(event, SearchStarted)]
    if not starts:
        return None
    attempts = _Attempts()
    for event in events:
        attempts.take(event)
    if not alive:
        attempts.break_off(None)
    confirmations = [event for event in events if isinstance(event, ConfirmationEnded)]
    ended = _end(events, alive)
    result = _result(events, alive)
    return Log(events, starts[0], starts[-1], attempts.all, confirmations, result, ended)


def milliseconds(time: float) -> int:
    """Turns seconds since 1970 into MLflow's unit."""
    return int(time * 1000)


def _result(events: list[Event], alive: bool) -> ResultSaved | None:
    kinds = (ResultSaved, SearchStarted) if alive else ResultSaved
    last = next((event for event in reversed(events) if isinstance(event, kinds)), None)
    return last if isinstance(last, ResultSaved) else None


def _end(events: list[Event], alive: bool) -> SearchEnded | None:
    last = next(e for e in reversed(events) if isinstance(e, SearchStarted | SearchEnded))
    if isinstance(last, SearchEnded):
        return last
    return None if alive else SearchEnded(status="KILLED", time=events[-1].time)


class _Attempts:
    """Sorts events by attempts."""

    def __init__(self) -> None:
        self.all: list[Attempt] = []
        self._last: dict[str, Attempt] = {}

    def take(self, event: Event) -> None:
        match event:
            case TrialStarted():
                earlier = self._last.get(event.trial_id)
                if earlier is not None:
                    earlier.superseded = True
                    _kill(earlier, None)
                self._last[event.trial_id] = Attempt(event)
                self.all.append(self._last[event.trial_id])
            case ModelBuilt() | EpochEnded() | TrialEnded() if event.trial_id in self._last:
                self._last[event.trial_id].events.append(event)
            case SearchStarted():
                self.break_off(None)  # The earlier session was killed.
            case SearchEnded():
                self.break_off(event.time)

    def break_off(self, when: float | None) -> None:
        for attempt in self._last.values():
            _kill(attempt, when)


def _kill(attempt: Attempt, when: float | None) -> None:
    record = attempt.record
    if attempt.killed is None and record.ended is None:
        attempt.killed = record.last_sign if when is None else when
