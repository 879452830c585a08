"""The parts of an `OptunaOracle` that the modules it consists of read, which cannot import it."""

from __future__ import annotations

from typing import Protocol

import keras_tuner as kt
import optuna
from keras_tuner.engine.trial import Trial
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from recdrop_tune.hyperparameters import Space, Values


class Searching(Protocol):
    """A search that an `OptunaOracle` proposes trials for; its arguments are documented there."""

    objective: kt.Objective
    hyperparameters: kt.HyperParameters
    trials: dict[str, Trial]
    start_order: list[str]
    end_order: list[str]
    ongoing_trials: dict[str, Trial]
    seed: int
    sampler: BaseSampler | str
    pruner: BasePruner
    max_none_share: float
    twin_last: bool
    min_gain: float
    _project_dir: str  # Keras Tuner's, which has no public name for it.

    @property
    def study(self) -> optuna.Study:
        """The Optuna study of the trials."""

    @property
    def space(self) -> Space:
        """The hyperparameters so far."""

    def configuration_of(self, trial: Trial) -> Values:
        """Returns the active values of a trial, by key."""

    def expected_gain(self) -> float | None:
        """Returns the gain that another trial promises, if known."""

    def get_best_trials(self, num_trials: int) -> list[Trial]:
        """Returns the best trials, the best one first."""
