"""The tuners by name: Optuna's, and those of Keras Tuner with their oracles."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras_tuner as kt

from recdrop_tune.errors import invalid_argument, shown
from recdrop_tune.files import trial_folder
from recdrop_tune.oracle import (
    OptunaOracle,
    Resumable,
    ResumesGrid,
    TrainsTwin,
    check_directions,
    due_twin,
    is_fixed,
    make_pruner,
    not_again,
)
from recdrop_tune.tuner import checkpoints as checkpoints
from recdrop_tune.tuner.reports import MILLISECONDS
from recdrop_tune.tuner.tuner import Tuner

# Keras Tuner's own oracles, mended where a search with them could not go on or would not search.


class EndsInTime:
    """Comes before a `keras_tuner.Oracle` among the bases of a class: it proposes nothing after a while.

    Attributes:
        timeout: Seconds after which no more trials are begun, counted from the first proposal, but for the
            twin of the best configuration.
        twin_last: See `TrainsTwin`.
    """

    timeout: float | None = None
    twin_last: bool = False
    ongoing_trials: dict[str, Any]
    _deadline: float | None = None

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Proposes the values of a trial; see `keras_tuner.Oracle.populate_space`."""
        now = time.monotonic()
        if self.timeout is not None and self._deadline is None:
            self._deadline = now + self.timeout
        if self._deadline is None or now < self._deadline:
            proposal: dict[str, Any] = super().populate_space(trial_id)  # type: ignore[misc]
            return proposal
        if self.twin_last and self.ongoing_trials:
            return {"status": "IDLE"}
        values = due_twin(self) if self.twin_last else None
        return {"status": "STOPPED" if values is None else "RUNNING", "values": values}


class RandomSearchOracle(EndsInTime, Resumable, TrainsTwin, kt.oracles.RandomSearchOracle):
    """Keras Tuner's random search, made to survive a kill."""


class HyperbandOracle(EndsInTime, Resumable, kt.oracles.HyperbandOracle):
    """Keras Tuner's Hyperband, made to survive a kill."""


class BayesianOptimizationOracle(
    EndsInTime, Resumable, TrainsTwin, kt.oracles.BayesianOptimizationOracle
):
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


class GridSearchOracle(EndsInTime, ResumesGrid, Resumable, kt.oracles.GridSearchOracle):
    """Keras Tuner's grid search, made to go on in its folder."""


# Hyperband: trials of few epochs, the best of which go on.


class HyperbandTuner(Tuner):
    """Does what the hyperparameters of Keras Tuner's Hyperband oracle ask for.

    Reference:
        Li et al. (2018), "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization",
        arXiv 1603.06560.
    """

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """Trains for the epochs of the trial's round."""
        values = trial.hyperparameters.values
        if "tuner/epochs" in values:
            kwargs["epochs"] = values["tuner/epochs"]
            kwargs["initial_epoch"] = values["tuner/initial_epoch"]
        return super().run_trial(trial, *args, **kwargs)

    def build_model(self, trial: Any) -> Any:
        """Builds the model, with the weights of the round before."""
        model = super().build_model(trial)
        earlier = trial.hyperparameters.values.get("tuner/trial_id")
        if earlier is None:
            return model
        return checkpoints.load(trial_folder(self.project_dir, earlier, "oracle.json"), model)


# Keras Tuner's own oracles take `seed=0` for "no seed"; this number, otherwise of no meaning, is
# handed to them in its place, so that 0 is reproducible too.
_SEED_FOR_ZERO = 2_147_483_647


class SearchPlan(Protocol):
    """What every tuner needs to know about a search."""

    @property
    def tuner(self) -> str:
        """`"optuna"`, `"random"`, `"bayesian"`, `"hyperband"` or `"grid"`."""

    @property
    def optuna(self) -> Any:
        """How Optuna searches (tuner `optuna` only); `recdrop_tune.Optuna` has checked it."""

    @property
    def training(self) -> Any:
        """How each trial is trained; `recdrop_tune.Training` has checked it."""

    @property
    def goals(self) -> Sequence[kt.Objective]:
        """The objectives; see `as_objectives`. Only Optuna's tuner takes several."""

    @property
    def max_trials(self) -> int:
        """The most trials that are run."""

    @property
    def epochs(self) -> int:
        """Epochs of one trial; Hyperband gives the trials which it drops fewer."""

    @property
    def folder(self) -> Path:
        """The project folder."""

    @property
    def seed(self) -> int | None:
        """Seed of the proposals; 0 is a seed."""

    @property
    def timeout(self) -> float | None:
        """Seconds after which no more trials are begun."""

    @property
    def study_name(self) -> str | None:
        """Name of the Optuna study (tuner `optuna` only)."""

    @property
    def twin_last(self) -> bool:
        """Whether the last trial is the best configuration without its dropout.

        Not with Hyperband and grids, whose order is their own.
        """


def make_tuner(plan: SearchPlan, hypermodel: Any) -> Any:
    """Makes the tuner of a search.

    Args:
        plan: The search.
        hypermodel: A `keras_tuner.HyperModel` or a function that builds a model from `hp`.

    Returns:
        A `Tuner`. Where the project folder holds a search, it goes on with it.
    """
    folder = Path(os.path.abspath(plan.folder))
    oracle = ORACLES[plan.tuner](plan)
    if isinstance(oracle, TrainsTwin):
        oracle.twin_last = plan.twin_last
    if isinstance(oracle, EndsInTime):
        oracle.timeout = plan.timeout
    hyperband, training = plan.tuner == "hyperband", plan.training
    return (HyperbandTuner if hyperband else Tuner)(
        oracle,
        hypermodel,
        seed=plan.seed,
        cv=training.cv,
        # Hyperband goes on with the weights of earlier trials.
        keep_checkpoints=None if hyperband else training.keep_checkpoints,
        reuse_models=training.reuse_models,
        executions_per_trial=training.executions,
        directory=str(folder.parent),
        project_name=folder.name,
    )


def as_objectives(objective: Any) -> list[kt.Objective]:
    """Turns the name of a metric, or a list of them, into objectives with directions.

    Raises:
        InvalidArgumentError: Whether a metric is to grow or to shrink is not known, or there is none, or
            one comes twice.
    """
    several = list(objective) if isinstance(objective, list | tuple) else [objective]
    if not several:
        raise invalid_argument("objective", expected="at least one metric", received=objective)
    goals = [as_objective(each) for each in several]
    if len({goal.name for goal in goals}) < len(goals):
        names = [goal.name for goal in goals]
        raise invalid_argument("objective", expected="different metrics", received=names)
    return goals


_GROWING = {
    *("f1score", "fbetascore", "r2score", "pearsoncorrelation", "concordancecorrelation"),
    *("cosinesimilarity", "iou", "binaryiou", "meaniou", "onehotiou", "onehotmeaniou"),
    *("precisionatrecall", "recallatprecision", "sensitivityatspecificity"),
    "specificityatsensitivity",
}
"""Keras's metrics of which more is better, and that Keras Tuner (1.4.8) takes for others or does not know."""


def _bare(metric: str) -> str:
    """Returns the class of a metric in small letters: `f1score` of `val_f1_score`."""
    return metric.removeprefix("val_").replace("_", "").lower()


def as_objective(objective: Any) -> kt.Objective:
    """Turns the name of a metric into an objective with a direction.

    Raises:
        InvalidArgumentError: Whether the metric is to grow or to shrink is not known, or its direction is
            neither `"min"` nor `"max"`.

    Example:
        >>> as_objective("val_accuracy").direction
        'max'
    """
    if isinstance(objective, kt.Objective):
        check_directions(objective)
        return objective
    direction = None
    if isinstance(objective, str) and objective == MILLISECONDS:
        direction = "min"
    elif isinstance(objective, str) and _bare(objective) in _GROWING:
        direction = "max"
    elif isinstance(objective, str):
        direction = kt.engine.metrics_tracking.infer_metric_direction(objective)
    if direction is None:
        raise invalid_argument(
            "objective",
            expected="a metric with a known direction, such as val_loss or val_accuracy",
            received=objective,
            fix=f"Pass keras_tuner.Objective({shown(objective)}, direction='min') or 'max'.",
        )
    return kt.Objective(objective, direction)


def _optuna(plan: SearchPlan) -> Any:
    pruner = plan.optuna.pruner
    if pruner is None or isinstance(pruner, str):
        pruner = make_pruner(pruner, warm_up=warm_up(plan.epochs))
    return OptunaOracle(
        list(plan.goals) if len(plan.goals) > 1 else plan.goals[0],
        plan.max_trials,
        sampler=plan.optuna.sampler,
        pruner=pruner,
        storage=plan.optuna.storage,
        study_name=plan.study_name,
        warm_start=plan.optuna.warm_start,
        timeout=plan.timeout,
        seed=plan.seed,
    )


def warm_up(epochs: int) -> int:
    """Says how many epochs of a trial are never cut off: a third of them, at least ten.

    Example:
        >>> warm_up(20), warm_up(60)
        (10, 20)
    """
    return max(10, round(epochs / 3))


def _random(plan: SearchPlan) -> Any:
    return RandomSearchOracle(plan.goals[0], plan.max_trials, seed=_seed(plan))


def _bayesian(plan: SearchPlan) -> Any:
    return BayesianOptimizationOracle(plan.goals[0], plan.max_trials, seed=_seed(plan))


def _grid(plan: SearchPlan) -> Any:
    return GridSearchOracle(plan.goals[0], plan.max_trials, seed=_seed(plan))


def _hyperband(plan: SearchPlan) -> Any:
    oracle = HyperbandOracle(plan.goals[0], plan.epochs, seed=_seed(plan))
    # Hyperband has no such argument, but its oracle stops there like any other.
    oracle.max_trials = plan.max_trials
    return oracle


def _seed(plan: SearchPlan) -> int | None:
    return _SEED_FOR_ZERO if plan.seed == 0 else plan.seed


ORACLES: dict[str, Callable[[SearchPlan], Any]] = {
    "optuna": _optuna,
    "random": _random,
    "bayesian": _bayesian,
    "hyperband": _hyperband,
    "grid": _grid,
}
"""The oracles of the tuners by name."""
