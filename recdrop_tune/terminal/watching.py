"""How a search stands that runs in another process, or has ended: read from its journal, and nothing else."""

from __future__ import annotations

import math
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

from recdrop_tune.events import (
    FILE,
    STATES,
    STOPPED,
    Event,
    Journal,
    Records,
    TrialRecord,
    has_locks,
    is_asked_to_stop,
)
from recdrop_tune.terminal.status import Standing, best_words, duration, no_more_words, score_of

_WORDS = {
    "running": "is running",
    "stopping": "is running, and ends after the trials that are under way, as it was asked to",
    "ended": "has ended",
    "stopped": "has ended, as it was asked to",
    "interrupted": "was interrupted",
    "failed": "has failed",
    "died": "has died: its process is gone and could say nothing",
    "unknown": "may be running, or have died: this system has no locks that would tell",
}
"""The states of a search, in words."""

_OF_ENDS = {"FINISHED": "ended", "KILLED": "interrupted"}


class Watched:
    """A search in a project folder, which may be somebody else's, and is not written to.

    Args:
        folder: The project folder.

    Attributes:
        folder: The project folder.
        history: Its events, as of the last look.
        records: What they say.
        is_running: Whether its process lives, as of the last look.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = Records()
        self.is_running = False
        self.history: list[Event] = []
        self._journal, self._read = Journal(folder / FILE), 0

    def look(self) -> list[Event]:
        """Looks again; returns what is new.

        Raises:
            OSError: The journal cannot be read.
            ProjectError: The journal is damaged.
        """
        # First: what it writes before it ends is read after that.
        try:
            is_open = self._journal.is_being_written()
        except OSError:  # A folder that may only be read.
            is_open = False
        new, self._read = self._journal.read_from(self._read)
        for event in new:
            self.records.on_event(event)
        self.history += new
        # After its end it may still be writing to MLflow.
        self.is_running = is_open and self.records.ended is None
        return new

    @property
    def workers(self) -> int:
        """How many trials run at the same time."""
        number = self.records.search.info.get("workers") if self.records.search else None
        return number if isinstance(number, int) and number > 0 else 1

    @property
    def is_here(self) -> bool:
        """Whether it was begun on this machine."""
        search = self.records.search
        return search is not None and search.pid is not None and search.host == socket.gethostname()

    @property
    def may_run_elsewhere(self) -> bool:
        """Whether it may be running on another machine, whose locks are not seen from here."""
        search = self.records.search
        known = search is not None and search.host is not None
        return known and not self.is_here and self.records.ended is None

    @property
    def state(self) -> str:
        """`running`, `stopping`, `ended`, `stopped`, `interrupted`, `failed`, `died` or `unknown`."""
        ended, early = self.records.ended, self.records.no_more
        is_stopped = early is not None and early.reason == STOPPED
        if ended is not None:
            state = _OF_ENDS.get(ended.status, "failed")
            return "stopped" if is_stopped and state == "ended" else state
        if not self.is_running:
            return "died" if has_locks() else "unknown"
        return "stopping" if is_stopped or is_asked_to_stop(self.folder) else "running"

    @property
    def state_words(self) -> str:
        """The same in words, to follow "it"."""
        words = _WORDS[self.state]
        if self.state == "died" and self.may_run_elsewhere:
            words = "may have died: from here it cannot be seen"
        search = self.records.search
        if search is None or search.pid is None or self.records.ended is not None:
            return words
        return f"{words} (process {search.pid} on {search.host})"

    @property
    def seconds(self) -> float:
        """How long it has been at work since it last began, or was until it ended."""
        search = self.records.search
        if search is None:
            return 0.0
        until = time.time() if self.is_running else self.history[-1].time
        return max(0.0, until - search.time)

    @property
    def seconds_left(self) -> float | None:
        """Estimates how long it still takes; `None` if it is not running, or that is not known yet."""
        if self.state not in ("running", "stopping"):
            return None
        standing = Standing(self.records, self.workers)
        if self.records.confirming is not None:
            return standing.confirmation_left()
        return standing.seconds_left(time.time(), begins_more=self.state == "running")

    def counts(self) -> dict[str, int]:
        """Counts the trials by state, in the order in which people ask for them."""
        found = Counter(self._state_of(record) for record in self.records.trials.values())
        order = [*STATES.values(), "INTERRUPTED", "KILLED", "RUNNING"]
        return {state: found[state] for state in order if found[state]}

    def lines(self) -> list[str]:
        """Writes how it stands, a line for each thing that there is to say."""
        standing = Standing(self.records, self.workers)
        total = "" if standing.total is None else f" of at most {standing.total}"
        counts = ", ".join(f"{number} {state.lower()}" for state, number in self.counts().items())
        best, left = best_words(self.records), self.seconds_left
        early = None if self.records.no_more is None else no_more_words(self.records)
        said = {
            "search": f"{self.folder} {self.state_words}",
            "trials": f"{len(self.records.trials)}{total}{': ' if counts else ''}{counts}",
            "best": best or "no trial is complete",
            "time": f"{duration(self.seconds)}{'' if left is None else f', about {duration(left)} left'}",
        }
        if self.records.confirming is not None:
            said["confirming"] = (
                f"{standing.confirmed} of {self.records.confirming.total} trainings"
            )
        rows = [*said.items(), *([("", early)] if early else [])]
        rows += [("now", standing.now(record)) for record in self._running]
        return [f"{name:<10}  {text}" for name, text in rows]

    def to_dict(self) -> dict[str, Any]:
        """Writes the same as plain data; numbers that JSON lacks are `None`."""
        standing, search = Standing(self.records, self.workers), self.records.search
        best = standing.best
        return {
            "folder": str(self.folder),
            "state": self.state,
            "pid": search.pid if search else None,
            "host": search.host if search else None,
            "experiment": search.experiment if search else None,
            "objective": standing.objective,
            "direction": search.direction if search else None,
            "max_trials": standing.total,
            "trials": self.counts(),
            "best": None if best is None else {**_about(best), "score": score_of(best)},
            "seconds": self.seconds,
            "seconds_left": self.seconds_left,
            "running": [{**_about(record), **_epoch(record)} for record in self._running],
        }

    @property
    def _running(self) -> list[TrialRecord]:
        return self.records.running if self.is_running else []

    def _state_of(self, record: TrialRecord) -> str:
        """The state of a trial; one whose process is gone does not run any more."""
        gone = record.ended is None and record not in self._running
        return "KILLED" if gone else record.state


def _about(record: TrialRecord) -> dict[str, Any]:
    active = {name: value for name, value in record.hyperparameters.items() if value is not None}
    return {"trial_id": record.trial_id, "number": record.number, "hyperparameters": active}


def _epoch(record: TrialRecord) -> dict[str, Any]:
    """The last epoch of a trial, from 0, of its last training."""
    epochs = record.repeats or record.epochs
    if not epochs:
        return {"execution": 0, "epoch": None, "metrics": {}}
    last = epochs[-1]
    metrics = {
        name: value if math.isfinite(value) else None for name, value in last.metrics.items()
    }
    return {"execution": last.execution, "epoch": last.epoch, "metrics": metrics}
