"""How a search stands that runs in another process, or has ended: read from its journal only."""

from __future__ import annotations

import math
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

from recdrop_tune import standing
from recdrop_tune.events import STOPPED
from recdrop_tune.files import HAS_LOCKS, JOURNAL, is_asked_to_stop
from recdrop_tune.journal import Journal
from recdrop_tune.records import Records, TrialRecord
from recdrop_tune.states import SearchOutcome, TrialState
from recdrop_tune.terminal import status

_WORDS = {
    "running": "is running",
    "stopping": "is running, and ends as requested after the running trials",
    "ended": "has ended",
    "stopped": "has ended as requested",
    "interrupted": "was interrupted",
    "failed": "has failed",
    "died": "has died: its process is gone and could not report its end",
    "unknown": "may be running, or have died: this system has no locks that would show it",
}
"""The states of a search, in words that follow "it"."""

_ENDS = {
    SearchOutcome.FINISHED: "ended",
    SearchOutcome.FAILED: "failed",
    SearchOutcome.KILLED: "interrupted",
}


class WatchedSearch:
    """A search in a project folder. The folder can belong to somebody else, and is not written to.

    Raises `OSError` if its journal cannot be read, and `ProjectError` if that is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        journal = Journal(folder / JOURNAL)
        # Before reading, so that what the search writes at its end is read too.
        try:
            is_open = journal.is_being_written()
        except OSError:  # A read-only folder.
            is_open = False
        self._events = journal.read()
        self.records = Records(self._events)
        # After its end it can still be writing to MLflow.
        self.is_running = is_open and self.records.ended is None
        if not self.is_running:
            self.records.lose_running()

    @property
    def may_run_elsewhere(self) -> bool:
        """Whether it may be running on another machine, whose locks are not visible here."""
        search = self.records.search
        if search is None or search.host is None or self.records.ended is not None:
            return False
        return search.pid is None or search.host != socket.gethostname()

    @property
    def state(self) -> str:
        """`running`, `stopping`, `ended`, `stopped`, `interrupted`, `failed`, `died` or `unknown`."""
        ended, early = self.records.ended, self.records.no_more
        is_stopped = early is not None and early.reason == STOPPED
        if ended is not None:
            state = _ENDS[ended.status]
            return "stopped" if is_stopped and state == "ended" else state
        if not self.is_running:
            return "died" if HAS_LOCKS else "unknown"
        return "stopping" if is_stopped or is_asked_to_stop(self.folder) else "running"

    @property
    def state_words(self) -> str:
        """The state in words that follow "it"."""
        search, words = self.records.search, _WORDS[self.state]
        if self.state == "died" and self.may_run_elsewhere:
            words = "may have died: this cannot be seen from here"
        if search is None or search.pid is None or self.records.ended is not None:
            return words
        return f"{words} (process {search.pid} on {search.host})"

    @property
    def seconds(self) -> float:
        """How long it has run since it last started or resumed."""
        search = self.records.search
        if search is None:
            return 0.0
        until = time.time() if self.is_running else self._events[-1].time
        return max(0.0, until - search.time)

    @property
    def seconds_left(self) -> float | None:
        """Estimates how long it still takes; `None` if it is not running, or if that is not known yet."""
        search, starts_more = self.records.search, self.state == "running"
        if search is None or not self.is_running:
            return None
        number = search.info.get("workers")
        workers = number if isinstance(number, int) and number > 0 else 1
        return status.seconds_left(self.records, time.time(), workers, starts_more)

    def counts(self) -> dict[str, int]:
        """Counts the trials by state."""
        states = Counter(each.state for each in self.records.trials.values())
        return {state: states[state] for state in TrialState if states[state]}

    def lines(self) -> list[str]:
        """Writes how it stands, one line for each fact."""
        records, left = self.records, self.seconds_left
        counts = ", ".join(f"{number} {state.lower()}" for state, number in self.counts().items())
        most = records.search.max_trials if records.search else None
        trials = f"{len(records.trials)}" + ("" if most is None else f" of at most {most}")
        took = status.format_duration(self.seconds)
        took += "" if left is None else f", about {status.format_duration(left)} left"
        rows = [
            ("search", f"{self.folder} {self.state_words}"),
            ("trials", ": ".join(filter(None, (trials, counts)))),
            ("best", status.format_best(records) or "no trial is complete"),
        ]
        if records.models:
            rows = [("comparison", rows[0][1]), ("models", ", ".join(records.models.values()))]
        rows.append(("time", took))
        if records.confirming is not None:
            done, total = status.trainings(records)
            name = "confirming" if records.trials else "done"
            rows.append((name, f"{done} of {total} trainings"))
        if early := status.format_ending(records):
            rows.append(("", early))
        rows += [("now", status.format_running(records, record)) for record in records.running]
        return [f"{name:<10}  {text}" for name, text in rows]

    def to_dict(self) -> dict[str, Any]:
        """Returns the same as plain data; numbers that JSON lacks are `None`."""
        records, search = self.records, self.records.search
        best = standing.best(records)
        return {
            "folder": str(self.folder),
            "state": self.state,
            "pid": search.pid if search else None,
            "host": search.host if search else None,
            "experiment": search.experiment if search else None,
            "objective": records.objective,
            "direction": search.direction if search else None,
            "max_trials": search.max_trials if search else None,
            "trials": self.counts(),
            "best": None if best is None else {**_about(best), "score": best.score},
            "seconds": self.seconds,
            "seconds_left": self.seconds_left,
            "running": [_about(record) | _last_epoch(record) for record in records.running],
            "models": [*records.models.values()],
            "trainings": dict(zip(("done", "total"), status.trainings(records), strict=True)),
        }


def _about(record: TrialRecord) -> dict[str, Any]:
    return {
        "trial_id": record.trial_id,
        "number": record.number,
        "hyperparameters": record.active,
    }


def _last_epoch(record: TrialRecord) -> dict[str, Any]:
    """Returns the last epoch of a trial's last training; epochs count from 0."""
    epochs = record.repeats or record.epochs
    if not epochs:
        return {"execution": 0, "epoch": None, "metrics": {}}
    last = epochs[-1]
    metrics = {name: each if math.isfinite(each) else None for name, each in last.metrics.items()}
    return {"execution": last.execution, "epoch": last.epoch, "metrics": metrics}
