"""Optuna's samplers by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import isinf
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from recdrop_tune.errors import invalid_argument
from recdrop_tune.oracle.parameters import Parameter
from recdrop_tune.oracle.surrogate import SurrogateSampler


class GridSampler(optuna.samplers.BruteForceSampler):
    """Tries every configuration of a conditional space once, in random order.

    Raises:
        InvalidArgumentError: A range without a step is asked for.
    """

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draws the value of one parameter; see `optuna.samplers.BaseSampler`."""
        if isinf(Parameter(param_name, param_distribution).count):
            raise invalid_argument(
                "sampler",
                expected="another one than 'grid', which needs a `step` or a list of values for each range",
                received=param_name,
            )
        return super().sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, *args: Any) -> None:
        """Does not stop the study after the last configuration: outside of `optimize` Optuna raises there."""
        with suppress(RuntimeError):
            super().after_trial(*args)


_SAMPLERS: dict[str, Any] = {
    "cmaes": optuna.samplers.CmaEsSampler,
    "gp": optuna.samplers.GPSampler,
    "grid": GridSampler,
    "nsga2": optuna.samplers.NSGAIISampler,
    "qmc": optuna.samplers.QMCSampler,
    "random": optuna.samplers.RandomSampler,
}


BLIND = ("cmaes", "grid", "nsga2", "qmc", "random")
"""The samplers that learn from no trials, or only from those that they have proposed themselves."""


def make_sampler(name: str | None, seed: int, begun: int = 0) -> BaseSampler:
    """Makes an Optuna sampler.

    Args:
        name: One of `"surrogate"` (a `SurrogateSampler`; `None` is the same), `"tpe"`, `"random"`, `"grid"`,
            `"qmc"`, `"nsga2"` (several objectives), `"gp"` (needs torch) and `"cmaes"` (needs cmaes).
        seed: Seed of the sampler.
        begun: The number of trials in the study.

    Raises:
        InvalidArgumentError: There is no sampler of that name.
    """
    known = {*_SAMPLERS, "surrogate", "tpe"}
    if name is not None and (not isinstance(name, str) or name not in known):
        raise invalid_argument(
            "sampler",
            expected=f"one of {', '.join(sorted(known))}, or an Optuna sampler",
            received=name,
        )
    if name in (None, "surrogate"):
        return SurrogateSampler(seed)  # It seeds each trial by its number.
    if begun:
        # With the same seed the sampler would propose its first trials again.
        seed = int(np.random.SeedSequence([seed, begun]).generate_state(1)[0])
    with warnings.catch_warnings():
        # `group`, `multivariate` and some samplers are experimental in Optuna; chosen on purpose.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            return TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
        sampler: BaseSampler = _SAMPLERS[name](seed=seed)
        return sampler


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silences Optuna's log: a search reports its trials itself."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
