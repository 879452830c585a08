"""Makes Keras Tuner's grid search go on in its folder."""

from __future__ import annotations

from functools import cmp_to_key
from typing import Any


class ResumesGrid:
    """Comes before a `keras_tuner.oracles.GridSearchOracle` among the bases of a class.

    Keras Tuner saves neither the order of the configurations tried nor those whose successors are
    still to be tried, so that a search which was loaded ends at once. Both follow from the trials.

    `_ordered_ids`, `_populate_next` and `_compare` are Keras Tuner's. A test fails if they go.
    """

    trials: dict[str, Any]
    start_order: list[str]
    end_order: list[str]
    _compare: Any

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned, and the place in the grid."""
        super().set_state(state)  # type: ignore[misc]
        kind: Any = type(self._ordered_ids)
        self._ordered_ids: Any = kind()  # It may be loaded more than once.
        # A trial whose file was lost has no place in the grid.
        known = [id for id in self.start_order if self.trials[id].hyperparameters.values]
        ordered = sorted(known, key=cmp_to_key(self._compare_trials))
        for before, trial_id in zip([None, *ordered], ordered, strict=False):
            self._ordered_ids.insert(trial_id, before)
        # Those whose successor has been tried are skipped.
        self._populate_next = [id for id in self.end_order if id in known]

    def _compare_trials(self, one: str, other: str) -> int:
        values = [self.trials[trial_id].hyperparameters.values for trial_id in (one, other)]
        return int(self._compare(*values))
