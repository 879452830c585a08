"""Optuna's samplers by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from math import isinf

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from recdrop_tune.errors import invalid_argument
from recdrop_tune.hyperparameters import Space, Values, configurations
from recdrop_tune.optuna_forms import to_optuna
from recdrop_tune.oracle.surrogate import SurrogateSampler, nothing


class GridSampler(optuna.samplers.RandomSampler):
    """Proposes the first untried configuration; the last hyperparameter varies fastest, as in Keras Tuner.

    The space can grow during the search, which Optuna's `BruteForceSampler` does not allow. In this order
    hyperparameters that only one branch has appear after the branches before it, and are not tried there.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self.space: Space = ()  # An `OptunaOracle` sets both.
        self.refuses: Callable[[Values], bool] = nothing

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the parameters that are proposed together; see `optuna.samplers.BaseSampler`."""
        return {row.name: row.distribution for row in self.space}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Values:
        """Proposes a configuration; see `optuna.samplers.BaseSampler`."""
        for row in self.space:
            if isinf(row.count):
                expected = "another one than 'grid', which needs a `step` or a list of values for each range"
                raise invalid_argument("sampler", expected=expected, received=row.name)
        untried = (values for values in configurations(self.space) if not self.refuses(values))
        values = next(untried, None)
        return {} if values is None else to_optuna(self.space, values)[0]


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
    """Makes an Optuna sampler, by default `"surrogate"`, for a study that has `begun` trials already."""
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
