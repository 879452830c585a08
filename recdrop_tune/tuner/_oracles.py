"""Keras Tuner's own oracles, mended where a search with them could not go on or would not search."""

from __future__ import annotations

import warnings
from typing import Any

import keras_tuner as kt

from recdrop_tune.oracle import Resumable, TrainsTwin
from recdrop_tune.oracle._conditional import is_fixed
from recdrop_tune.oracle._grid import ResumesGrid
from recdrop_tune.oracle._proposals import not_again


class RandomSearchOracle(Resumable, TrainsTwin, kt.oracles.RandomSearchOracle):
    """Keras Tuner's random search, made to survive a kill."""


class HyperbandOracle(Resumable, kt.oracles.HyperbandOracle):
    """Keras Tuner's Hyperband, made to survive a kill."""


class BayesianOptimizationOracle(Resumable, TrainsTwin, kt.oracles.BayesianOptimizationOracle):
    """Keras Tuner's Bayesian optimization, with random trials enough to start from and no more.

    Keras Tuner draws three random points for each hyperparameter, the fixed ones counted in: most
    searches would end before its model proposes anything. Its model also proposes again what has been
    tried; here the nearest configuration that has not been tried takes its place, and the search ends
    when there is none, as with the other oracles.
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
        if proposal["status"] != "RUNNING":
            return proposal
        values = not_again(self, proposal["values"])
        return {"status": "STOPPED" if values is None else "RUNNING", "values": values}


def initial_points(searched: int, max_trials: int) -> int:
    """Says after how many random trials the Gaussian process proposes: after half of them at most.

    Example:
        >>> initial_points(searched=5, max_trials=20), initial_points(searched=12, max_trials=20)
        (5, 10)
    """
    # Keras Tuner takes 0 for "not said".
    return max(1, min(max(3, searched), max_trials // 2))


class GridSearchOracle(ResumesGrid, Resumable, kt.oracles.GridSearchOracle):
    """Keras Tuner's grid search, made to go on in its folder."""
