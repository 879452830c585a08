"""Makes Optuna samplers by name, with the defaults that a conditional space needs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, TPESampler

from recdrop_tune.errors import invalid_argument
from recdrop_tune.oracle.surrogate_sampler import SurrogateSampler

_SAMPLERS: dict[str, Any] = {
    "cmaes": optuna.samplers.CmaEsSampler,
    "gp": optuna.samplers.GPSampler,
    "nsga2": optuna.samplers.NSGAIISampler,
    "qmc": optuna.samplers.QMCSampler,
    "random": optuna.samplers.RandomSampler,
}


def make_sampler(name: str | None, seed: int, begun: int = 0) -> BaseSampler:
    """Makes an Optuna sampler.

    Args:
        name: One of `"surrogate"` (a `SurrogateSampler`; `None` is the same), `"tpe"`, `"random"`, `"qmc"`,
            `"nsga2"` (several objectives), `"gp"` (needs torch) and `"cmaes"` (needs cmaes).
        seed: Seed of the sampler.
        begun: How many trials the study has already.

    Raises:
        InvalidArgumentError: There is no sampler of that name.
    """
    known = {*_SAMPLERS, "surrogate", "tpe"}
    if name is not None and (not isinstance(name, str) or name not in known):
        raise invalid_argument(
            "sampler",
            expected=f"one of {', '.join(sorted(known))}, or a sampler of Optuna's",
            received=name,
        )
    if name in (None, "surrogate"):
        return SurrogateSampler(seed)  # The number of a trial is a part of its seed there.
    if begun:
        # With the seed itself the sampler would propose its first trials once more.
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
    """Keeps Optuna from logging what it does on behalf of a search that reports itself."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
