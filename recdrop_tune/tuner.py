"""Makes a Keras Tuner tuner by name, with one set of arguments for all of them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cmp_to_key
from pathlib import Path
from typing import Any

import keras_tuner as kt

from recdrop_tune.errors import invalid_argument
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.oracle._conditional import is_fixed

# Keras Tuner's own tuners take `seed=0` for "no seed"; this number, otherwise of no meaning, is
# handed to them in its place, so that 0 is reproducible too.
_SEED_FOR_ZERO = 2_147_483_647


@dataclass(frozen=True)
class SearchPlan:
    """What every tuner needs to know about a search.

    Attributes:
        hypermodel: A `keras_tuner.HyperModel` or a function that builds a model from `hp`.
        objective: The objective; see `as_objective`.
        max_trials: The most trials that are run.
        epochs: Epochs of one trial; Hyperband gives the trials which it drops fewer.
        directory: The project folder.
        seed: Seed of the proposals; 0 is a seed.
        storage: Optuna storage or storage URL (tuner `optuna` only).
        study_name: Name of the Optuna study (tuner `optuna` only).
        sampler: Optuna sampler or its name (tuner `optuna` only).
    """

    hypermodel: Any
    objective: kt.Objective
    max_trials: int
    epochs: int
    directory: Path
    seed: int | None = None
    storage: Any = None
    study_name: str | None = None
    sampler: Any = None


def make_tuner(name: str, plan: SearchPlan) -> Any:
    """Makes a tuner.

    Args:
        name: `"optuna"`, `"random"`, `"bayesian"`, `"hyperband"` or `"grid"`.
        plan: The search.

    Returns:
        A `keras_tuner.Tuner`. Where the project folder holds a search, it goes on with it.

    Raises:
        InvalidArgumentError: There is no tuner of that name.
    """
    if name not in TUNERS:
        raise invalid_argument("tuner", expected=f"one of {', '.join(TUNERS)}", received=name)
    folder = Path(os.path.abspath(plan.directory))
    place = {"directory": str(folder.parent), "project_name": folder.name}
    return TUNERS[name](plan, place)


def as_objective(objective: Any) -> kt.Objective:
    """Turns the name of a metric into an objective with a direction.

    Raises:
        InvalidArgumentError: Whether the metric is to grow or to shrink is not known.

    Example:
        >>> as_objective("val_accuracy").direction
        'max'
    """
    if isinstance(objective, kt.Objective):
        return objective
    direction = None
    if isinstance(objective, str):
        direction = kt.engine.metrics_tracking.infer_metric_direction(objective)
    if direction is None:
        raise invalid_argument(
            "objective",
            expected="a metric with a known direction, such as val_loss or val_accuracy",
            received=objective,
            fix=f"Pass keras_tuner.Objective({objective!r}, direction='min') or 'max'.",
        )
    return kt.Objective(objective, direction)


def _optuna(plan: SearchPlan, place: dict[str, str]) -> Any:
    oracle = OptunaOracle(
        plan.objective,
        plan.max_trials,
        sampler=plan.sampler,
        storage=plan.storage,
        study_name=plan.study_name,
        seed=plan.seed,
    )
    return kt.Tuner(oracle, plan.hypermodel, **place)


def _random(plan: SearchPlan, place: dict[str, str]) -> Any:
    return kt.RandomSearch(
        plan.hypermodel, plan.objective, plan.max_trials, seed=_seed(plan), **place
    )


def _bayesian(plan: SearchPlan, place: dict[str, str]) -> Any:
    oracle = BayesianOptimizationOracle(plan.objective, plan.max_trials, seed=_seed(plan))
    return kt.Tuner(oracle, plan.hypermodel, **place)


class BayesianOptimizationOracle(kt.oracles.BayesianOptimizationOracle):
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


def _grid(plan: SearchPlan, place: dict[str, str]) -> Any:
    oracle = GridSearchOracle(plan.objective, plan.max_trials, seed=_seed(plan))
    return kt.Tuner(oracle, plan.hypermodel, **place)


class GridSearchOracle(kt.oracles.GridSearchOracle):
    """Keras Tuner's grid search, made to go on in its folder.

    Keras Tuner saves neither the order of the configurations tried nor those whose successors are
    still to be tried, so that a search which was loaded ends at once. Both follow from the trials.
    """

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned, and the place in the grid."""
        super().set_state(state)
        ordered = sorted(self.start_order, key=cmp_to_key(self._compare_trials))
        for before, trial_id in zip([None, *ordered], ordered, strict=False):
            self._ordered_ids.insert(trial_id, before)
        # Those whose successor has been tried are skipped.
        self._populate_next = list(self.end_order)

    def _compare_trials(self, one: str, other: str) -> int:
        values = [self.trials[trial_id].hyperparameters.values for trial_id in (one, other)]
        return int(self._compare(*values))


def _hyperband(plan: SearchPlan, place: dict[str, str]) -> Any:
    tuner = kt.Hyperband(plan.hypermodel, plan.objective, plan.epochs, seed=_seed(plan), **place)
    # Hyperband has no such argument, but its oracle stops there like any other.
    tuner.oracle.max_trials = plan.max_trials
    return tuner


def _seed(plan: SearchPlan) -> int | None:
    return _SEED_FOR_ZERO if plan.seed == 0 else plan.seed


TUNERS: dict[str, Callable[[SearchPlan, dict[str, str]], Any]] = {
    "optuna": _optuna,
    "random": _random,
    "bayesian": _bayesian,
    "hyperband": _hyperband,
    "grid": _grid,
}
"""The tuners that `make_tuner` knows."""
