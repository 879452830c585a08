"""Optuna's form of a configuration, and its log, for the oracle and for readers of a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution

from recdrop_tune.hyperparameters import Space, active_rows


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


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silences Optuna's log: a search reports its trials itself."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
