"""Hands out what is to be trained after the search, to one worker after the other."""

from __future__ import annotations

from typing import Any

from recdrop_tune.executors._job import FollowUp, Task
from recdrop_tune.tracking import Tracking

WAIT = "wait"
"""In the place of a task: others are still at theirs, and may be lost over it."""


class Tasks:
    """The tasks of a follow-up, where the oracle is.

    Args:
        follow_up: What comes after the search, or `None`.
        tuner: The tuner with the oracle.
        tracking: Its tracking.
        losses: How many workers may be lost over one task.

    Attributes:
        over: Whether a worker has asked for a task and there was none left.
    """

    def __init__(
        self, follow_up: FollowUp | None, tuner: Any, tracking: Tracking, losses: int
    ) -> None:
        self._follow_up = follow_up
        self._tuner = tuner
        self._tracking = tracking
        self._limit = losses
        self._left: list[Task] | None = None
        self._busy: dict[str, Task] = {}
        self._losses: list[Task] = []
        self.over = False

    def next(self, tuner_id: str) -> Task | str | None:
        """Returns the next task, `WAIT`, or `None` at the end.

        Args:
            tuner_id: The worker, which is done with its task before.
        """
        self._busy.pop(tuner_id, None)
        if self._left is None:
            follow_up = self._follow_up
            tasks = () if follow_up is None else follow_up.tasks(self._tuner, self._tracking)
            self._left = list(tasks)
        if self._left:
            self._busy[tuner_id] = self._left.pop(0)
            return self._busy[tuner_id]
        self.over = not self._busy
        return None if self.over else WAIT

    def cancel(self) -> None:
        """Leaves out what has not begun."""
        self._left = []

    def is_busy(self, tuner_id: str) -> bool:
        """Says whether a worker has a task."""
        return tuner_id in self._busy

    def keep(self, *result: Any) -> None:
        """Takes the result of a task."""
        if self._follow_up is not None:
            self._follow_up.keep(self._tuner, self._tracking, *result)

    def give_up(self, tuner_id: str, reason: str) -> bool:
        """Hands the task of a dead worker to another one, unless it has cost several of them.

        Returns:
            Whether it had one.
        """
        task = self._busy.pop(tuner_id, None)
        if task is None or self._left is None or self._follow_up is None:
            return False
        self._losses.append(task)
        if self._losses.count(task) < self._limit:
            self._left.insert(0, task)
        else:
            self._follow_up.failed(self._tracking, task, reason)
        return True
