"""When a search is done: what its next proposal promises, corrected by what earlier ones have kept."""

from __future__ import annotations

import math
from typing import Any

from keras_tuner.engine.trial import TrialStatus

from recdrop_tune.errors import invalid_argument
from recdrop_tune.oracle.scores import as_error_rates
from recdrop_tune.oracle.searching import Searching

MOST = 200
"""The most trials of a search with `max_trials=None`."""

LEAST = 8
"""The fewest; with fewer, promises mean little."""

# In replays, two in a row ended too early, and four took more epochs without finding more.
_IN_A_ROW = 3


class Promises:
    """The gains that the proposals of a search have promised, as parts of the best loss.

    `made` holds them by the ids of the trials, in the order of the proposals. `at_end` is the gain that
    another trial promised when the search was done; None while it is not.
    """

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        state = state or {}
        self.made = {str(id): float(gain) for id, gain in state.get("made", {}).items()}
        self.at_end: float | None = state.get("at_end")
        self._looked: tuple[int, int] | None = None
        self._are_small = False

    def get_state(self) -> dict[str, Any]:
        """Returns the promises as plain data."""
        return {"made": self.made, "at_end": self.at_end}

    def add(self, trial_id: str, gain: float | None) -> None:
        """Adds the promise of a proposal; None if it made none."""
        self.at_end = None
        if gain is not None:
            self.made[trial_id] = gain

    def kept(self, oracle: Searching) -> float:
        """Returns the part of their promises that the proposals have kept.

        The Gaussian process promises too much, by a factor that depends on the task. Both sums start at 1, so
        that the first few trials hardly change the part.
        """
        best, promised, gained = math.inf, 1.0, 1.0
        costs = costs_of(oracle)
        for trial_id in oracle.end_order:
            before, best = best, min(best, costs.get(trial_id, math.inf))
            if trial_id in self.made and 0 < before < math.inf:
                promised += self.made[trial_id]
                gained += 1 - best / before
        return gained / promised

    def are_small(self, oracle: Searching) -> bool:
        """Returns whether the last proposals, and the next one, promise less than the `min_gain`."""
        if self.at_end is not None:
            return bool(self.at_end < oracle.min_gain)
        now = len(oracle.trials), len(oracle.end_order)
        if now != self._looked:  # Idle workers ask several times a second.
            self._looked, self._are_small = now, self._look(oracle)
        return self._are_small

    def _look(self, oracle: Searching) -> bool:
        if min(costs_of(oracle).values(), default=0.0) < 0:
            what = "a number, unless the objective is a loss above 0 or a metric from 0 to 1"
            raise invalid_argument(
                "max_trials", expected=what, received=f"None for {oracle.objective.name}"
            )
        last = list(self.made.values())[1 - _IN_A_ROW :]
        gain, kept = oracle.expected_gain(), self.kept(oracle)
        if (
            gain is None
            or len(last) < _IN_A_ROW - 1
            or max(gain, *(kept * promise for promise in last)) >= oracle.min_gain
        ):
            return False
        if not oracle.ongoing_trials:
            self.at_end = gain
        return True


def costs_of(oracle: Searching) -> dict[str, float]:
    """Returns the losses or error rates of the complete trials, by their ids."""
    sign = -1.0 if oracle.objective.direction == "max" else 1.0
    ended = {
        id: trial for id, trial in oracle.trials.items() if trial.status == TrialStatus.COMPLETED
    }
    costs = as_error_rates([sign * trial.score for trial in ended.values()], sign < 0)
    return dict(zip(ended, costs, strict=True))
