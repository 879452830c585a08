"""Which configurations of a search space have been tried, and the nearest one that has not."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from recdrop_tune.oracle.candidates import Candidates, Encoding
from recdrop_tune.oracle.conditions import parameters_of, to_value, walk
from recdrop_tune.oracle.parameters import Values, combinations, key_of
from recdrop_tune.oracle.study import as_optuna

_MOST_LISTED = 20_000
"""Larger spaces are not listed: they count as never exhausted."""


def nearest_untried(oracle: Any, wanted: Values) -> Values | None:
    """Returns the untried configuration that is most like a given one.

    A sampler that has settled on a region asks for the same few points again; it would ask for their
    neighbours next.

    Args:
        oracle: The oracle: its space, its trials and its seed.
        wanted: The active values of a configuration that has been tried, by name.

    Returns:
        Active values, by name; None if the whole space has been tried.
    """
    space = oracle.hyperparameters.space
    parameters = parameters_of(space)
    candidates, encoding = Candidates(parameters, _MOST_LISTED), Encoding(parameters)
    trials = (trial.hyperparameters.values for trial in oracle.trials.values())
    tried = {candidates.key(as_optuna(space, values)[0]) for values in trials}
    point, _ = as_optuna(space, wanted)
    untried = candidates.untried(tried, [point], np.random.default_rng([oracle.seed, len(tried)]))
    if not untried:
        return None
    distances = np.abs(encoding(untried) - encoding([point])).sum(axis=1)
    nearest = untried[int(distances.argmin())]
    return walk(space, lambda hp: to_value(hp, nearest[hp.name]))


def tried_of_all(oracle: Any, most: int = _MOST_LISTED) -> tuple[int, int] | None:
    """Counts the configurations of a search space that were tried, and all of them.

    Args:
        oracle: Any oracle.
        most: Spaces with more configurations are not counted.

    Returns:
        Both numbers; None if the space has more configurations, or has hyperparameters that cannot be listed.
    """
    space = oracle.hyperparameters.space
    try:
        parameters = parameters_of(space)
    except Exception:  # User-defined hyperparameters; a search must not fail because of a count.
        return None
    if any(each.values is None for each in parameters):
        return None
    distributions = {each.name: each.distribution for each in parameters}
    every = {key_of(values, distributions) for values in islice(combinations(parameters), most + 1)}
    if len(every) > most:
        return None
    trials = (as_optuna(space, trial.hyperparameters.values)[0] for trial in oracle.trials.values())
    return len(every & {key_of(values, distributions) for values in trials}), len(every)


def fewer_than_trials(oracle: Any) -> int | None:
    """Returns the number of configurations in a search space if it is less than `max_trials`, else None.

    Keras Tuner's Hyperband is never short of them, as it trains a configuration several times.
    """
    limit = oracle.max_trials
    if not limit or hasattr(oracle, "hyperband_iterations"):
        return None
    found = tried_of_all(oracle, limit - 1)
    return None if found is None else found[1]


def exhausted(oracle: Any) -> tuple[int, int] | None:
    """Returns what `tried_of_all` does if a search ended before `max_trials` because all has been tried.

    Args:
        oracle: The oracle of a search that has ended.
    """
    if oracle.max_trials and len(oracle.trials) >= oracle.max_trials:
        return None
    found = tried_of_all(oracle)
    return found if found is not None and found[0] == found[1] else None
