"""Translates configurations from and to Optuna's form, for the oracle and for readers of a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from recdrop_tune.hyperparameters import Hyperparameter, Space, Values, active_rows


def to_optuna(
    space: Space, values: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """Returns a configuration as the parameters of an Optuna trial, and their distributions.

    Fixed hyperparameters are left out, and so are values that the space does not offer: a default can lie
    between the steps.
    """
    params, distributions = {}, {}
    for row in active_rows(space, values):
        if not row.is_fixed and row.contains(values[row.key]):
            params[row.name] = row.mirror(row.exact(values[row.key]))
            distributions[row.name] = row.distribution
    return params, distributions


def from_optuna(space: Space, params: Mapping[str, Any]) -> Values:
    """Returns the configuration of an Optuna trial, with the fixed hyperparameters."""
    values: Values = {}
    for row in space:
        if (row.is_fixed or row.name in params) and row.is_active(values):
            drawn = row.middle if row.is_fixed else row.mirror(params[row.name])
            values[row.key] = row.exact(drawn)
    return values


def read_distribution(name: str, distribution: BaseDistribution) -> Hyperparameter:
    """Returns a parameter of an Optuna study as a row without conditions."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return Hyperparameter(name, choices=choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return Hyperparameter(name, low=low, high=high, step=None if log else step, log=log)
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return Hyperparameter(name, low=low, high=high, step=step, log=log)
    raise TypeError(f"{distribution!r} is not a distribution of Optuna's")


def suggest(trial: optuna.Trial, row: Hyperparameter) -> Any:
    """Draws the value of one hyperparameter.

    `study.ask` takes distributions too, but all at once: which ones are active is known only while drawing.
    """
    if row.is_fixed:
        return row.middle
    drawn: Any
    match row.distribution:
        case CategoricalDistribution(choices=choices):
            drawn = trial.suggest_categorical(row.name, choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            drawn = trial.suggest_int(row.name, low, high, step=step, log=log)
        case FloatDistribution(low=low, high=high, step=step, log=log):
            drawn = trial.suggest_float(row.name, low, high, step=step, log=log)
    return row.exact(row.mirror(drawn))


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silences Optuna's log: a search reports its trials itself."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
