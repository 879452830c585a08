"""Optuna's samplers by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from math import isinf
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from recdrop_tune.errors import invalid_argument
from recdrop_tune.optuna_forms import read_distribution
from recdrop_tune.oracle.surrogate import SurrogateSampler


class GridSampler(optuna.samplers.RandomSampler):
    """Draws at random, and only from ranges with steps: an `OptunaOracle` then tries all of them, each once.

    The space can grow during the search, which Optuna's `BruteForceSampler` does not allow.
    """

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draws the value of one parameter; see `optuna.samplers.BaseSampler`."""
        if isinf(read_distribution(param_name, param_distribution).count):
            expected = (
                "another one than 'grid', which needs a `step` or a list of values for each range"
            )
            raise invalid_argument("sampler", expected=expected, received=param_name)
        return super().sample_independent(study, trial, param_name, param_distribution)


EXHAUSTIVE = (GridSampler, optuna.samplers.BruteForceSampler, optuna.samplers.GridSampler)
"""The samplers that are to try everything."""

_SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "cmaes": optuna.samplers.CmaEsSampler,
    "gp": optuna.samplers.GPSampler,
    "grid": GridSampler,
    "qmc": optuna.samplers.QMCSampler,
    "random": optuna.samplers.RandomSampler,
    "surrogate": partial(SurrogateSampler, ()),  # An `OptunaOracle` sets the space.
    "tpe": partial(TPESampler, multivariate=True, group=True, constant_liar=True),
}

BLIND = ("cmaes", "grid", "qmc", "random")
"""The samplers that learn from no trials, or only from those that they have proposed themselves."""


def make_sampler(name: str | None, seed: int, begun: int = 0) -> BaseSampler:
    """Makes an Optuna sampler for a study that has `begun` trials already; `None` stands for `"surrogate"`.

    `"gp"` needs the package torch, and `"cmaes"` needs cmaes.

    Raises:
        InvalidArgumentError: There is no sampler of that name.
    """
    name = "surrogate" if name is None else name
    if not isinstance(name, str) or name not in _SAMPLERS:
        expected = f"one of {', '.join(_SAMPLERS)}, or an Optuna sampler"
        raise invalid_argument("sampler", expected=expected, received=name)
    if begun and name != "surrogate":  # Which seeds each trial by its number.
        # With the same seed the sampler would propose its first trials again.
        seed = int(np.random.SeedSequence([seed, begun]).generate_state(1)[0])
    with warnings.catch_warnings():
        # `group`, `multivariate` and some samplers are experimental in Optuna; chosen on purpose.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _SAMPLERS[name](seed=seed)
