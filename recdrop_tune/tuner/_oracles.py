"""Keras Tuner's own oracles, mended where a search with them could not go on or would not search."""

from __future__ import annotations

import warnings
from functools import cmp_to_key
from typing import Any

import keras_tuner as kt

from recdrop_tune.oracle import Resumable
from recdrop_tune.oracle._conditional import is_fixed


class RandomSearchOracle(Resumable, kt.oracles.RandomSearchOracle):
    """Keras Tuner's random search, made to survive a kill."""


class HyperbandOracle(Resumable, kt.oracles.HyperbandOracle):
    """Keras Tuner's Hyperband, made to survive a kill."""


class BayesianOptimizationOracle(Resumable, kt.oracles.BayesianOptimizationOracle):
    """Keras Tuner's Bayesian optimization, with random trials enough to start from and no more.

    Keras Tuner draws three random points for each hyperparameter, the fixed ones counted in: most
    searches would end before its model proposes anything.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Proposes the values of a trial; see `keras_tuner.Oracle.populate_space`."""
        # Here, because a search that goes on has loaded what was right for its first part.
        searched = sum(not is_fixed(hp) for hp in self.hyperparameters.space)
        self.num_initial_points = initial_points(searched, self.max_trials)
        with warnings.catch_warnings():
            # Of few points a length scale at the end of its range is fitted, which is no fault.
            warnings.filterwarnings("ignore", module=r"sklearn\.")
            proposal: dict[str, Any] = super().populate_space(trial_id)
        return proposal


def initial_points(searched: int, max_trials: int) -> int:
    """Says after how many random trials the Gaussian process proposes: after half of them at most.

    Example:
        >>> initial_points(searched=5, max_trials=20), initial_points(searched=12, max_trials=20)
        (5, 10)
    """
    # Keras Tuner takes 0 for "not said".
    return max(1, min(max(3, searched), max_trials // 2))


class GridSearchOracle(Resumable, kt.oracles.GridSearchOracle):
    """Keras Tuner's grid search, made to go on in its folder.

    Keras Tuner saves neither the order of the configurations tried nor those whose successors are
    still to be tried, so that a search which was loaded ends at once. Both follow from the trials.
    """

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned, and the place in the grid."""
        super().set_state(state)
        kind: Any = type(self._ordered_ids)
        self._ordered_ids: Any = kind()  # It may be loaded more than once.
        ordered = sorted(self.start_order, key=cmp_to_key(self._compare_trials))
        for before, trial_id in zip([None, *ordered], ordered, strict=False):
            self._ordered_ids.insert(trial_id, before)
        # Those whose successor has been tried are skipped.
        self._populate_next = list(self.end_order)

    def _compare_trials(self, one: str, other: str) -> int:
        values = [self.trials[trial_id].hyperparameters.values for trial_id in (one, other)]
        return int(self._compare(*values))
