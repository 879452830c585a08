"""Translates Keras Tuner hyperparameters to Optuna distributions and back."""

from __future__ import annotations

from typing import Any

import keras_tuner as kt
import optuna
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from recdrop_tune.oracle._conditional import HyperParameter, grid_values, plain

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution


def distribution(hp: HyperParameter) -> Distribution:
    """Returns the Optuna distribution that draws what a hyperparameter offers.

    Optuna has no logarithmic range with a step, so its values become a choice; a `reverse_log`
    range is drawn by its probability.
    """
    if not hasattr(hp, "min_value"):
        return CategoricalDistribution(grid_values(hp))
    if hp.sampling != "linear" and hp.step is not None:
        return CategoricalDistribution(grid_values(hp))
    if hp.sampling == "reverse_log":
        return FloatDistribution(0.0, 1.0)
    if isinstance(hp, kt.engine.hyperparameters.Int):
        return _int_distribution(hp)
    if hp.step is None:
        return FloatDistribution(hp.min_value, hp.max_value, log=hp.sampling == "log")
    # Optuna warns where the step does not divide the range; Keras Tuner stops at the last multiple.
    return FloatDistribution(hp.min_value, grid_values(hp)[-1], step=hp.step)


def _int_distribution(hp: HyperParameter) -> Distribution:
    if hp.sampling == "log":
        return IntDistribution(hp.min_value, hp.max_value, log=True)
    last = hp.max_value - (hp.max_value - hp.min_value) % hp.step
    return IntDistribution(hp.min_value, last, step=hp.step)


def suggest(asked: optuna.Trial, hp: HyperParameter) -> Any:
    """Draws the value of one hyperparameter from an Optuna trial.

    Args:
        asked: The trial, fresh from `study.ask()`. (`ask` itself takes distributions too, but all
            at once: a conditional space is known only as its values are drawn.)
        hp: The hyperparameter.
    """
    match distribution(hp):
        case CategoricalDistribution(choices=choices):
            return to_value(hp, asked.suggest_categorical(hp.name, choices))
        case IntDistribution(low=low, high=high, step=step, log=log):
            return to_value(hp, asked.suggest_int(hp.name, low, high, step=step, log=log))
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return to_value(hp, asked.suggest_float(hp.name, low, high, step=step, log=log))


def to_value(hp: HyperParameter, drawn: Any) -> Any:
    """Returns the hyperparameter's value for what Optuna drew."""
    if _by_probability(hp):
        # Keras Tuner's probabilities lie in [0, 1), Optuna's range is closed.
        return hp.prob_to_value(min(drawn, 1.0 - 1e-12))
    return plain(hp, drawn)


def to_drawn(hp: HyperParameter, value: Any) -> Any:
    """Returns what Optuna would have to draw for a hyperparameter's value."""
    return hp.value_to_prob(value) if _by_probability(hp) else value


def _by_probability(hp: HyperParameter) -> bool:
    return getattr(hp, "sampling", None) == "reverse_log" and hp.step is None
