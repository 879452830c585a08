"""What a sampler is not to propose, and what is tried instead: the nearest untried configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import optuna

from recdrop_tune.oracle.candidates import Candidates, Encoding
from recdrop_tune.oracle.conditions import parameters_of, to_value, walk
from recdrop_tune.oracle.parameters import Values, combinations, key_of
from recdrop_tune.oracle.study import as_optuna
from recdrop_tune.oracle.twins import active_values, is_wrapper, offers_none
from recdrop_tune.standing import NONE, has_wrapper

_MOST_LISTED = 20_000
"""Larger spaces are not listed: they count as never exhausted."""


_LIMITED = ("wrapper", "cell")
"""The hyperparameters whose values `limits` spreads over the trials."""


def limits(oracle: Any) -> Callable[[Values], bool]:
    """Returns a function that returns whether the sampler is to propose another configuration.

    Trials without dropout are limited to a share of all trials, and a cell is not tried a third time while
    another one waits for its first. All this follows from the trials, so it is the same with several workers
    and after a restart.

    Args:
        oracle: The oracle: its space, its trials and its `max_none_share`.
    """
    if isinstance(
        oracle.study.sampler, optuna.samplers.BruteForceSampler | optuna.samplers.GridSampler
    ):
        return lambda values: False
    space = oracle.hyperparameters.space
    tried = [active_values(trial.hyperparameters) for trial in oracle.trials.values()]
    drops = any(set(hp.values) != {NONE} for hp in space if is_wrapper(hp))
    # This trial, and the twin at the end.
    more = 1 + (oracle.twin_last and offers_none(space))
    without = more + sum(has_wrapper(values, NONE) for values in tried)
    full = drops and without > oracle.max_none_share * (len(tried) + more) + 1e-9
    often: dict[str, set[Any]] = {}
    for hp in space:
        if hp.name.rpartition("/")[2] == "cell":
            counts = Counter(values.get(hp.name) for values in tried)
            if not all(counts[value] for value in hp.values):
                often[hp.name] = {value for value in hp.values if counts[value] >= 2}

    def refuses(values: Values) -> bool:
        without_dropout = full and has_wrapper(values, NONE)
        return without_dropout or any(values.get(name) in often[name] for name in often)

    return refuses


def nearest_untried(
    oracle: Any, wanted: Values, refuses: Callable[[Values], bool]
) -> Values | None:
    """Returns the untried configuration that is most like a given one.

    A sampler that has settled on a region asks for the same few points again; it would ask for their
    neighbours next. If the given one is refused, its other settings are kept, and the dropout is drawn.

    Args:
        oracle: The oracle: its space, its trials and its seed.
        wanted: The active values of a configuration that has been tried or is refused, by name.
        refuses: What is tried only if nothing else is left; see `limits`.

    Returns:
        Active values, by name; None if the whole space has been tried.
    """
    space = oracle.hyperparameters.space
    parameters = parameters_of(space)
    candidates, encoding = Candidates(parameters, _MOST_LISTED), Encoding(parameters)
    trials = (trial.hyperparameters.values for trial in oracle.trials.values())
    tried = {candidates.key(as_optuna(space, values)[0]) for values in trials}
    point, _ = as_optuna(space, wanted)
    random = np.random.default_rng([oracle.seed, len(tried)])
    untried = candidates.untried(tried, [point], random)
    if not untried:
        return None
    untried = [values for values in untried if not refuses(values)] or untried
    if refuses(wanted):
        same = [
            each
            for each in parameters
            if each.name in wanted and each.name.rpartition("/")[2] not in _LIMITED
        ]
        encoding = Encoding(same)
        untried = [untried[number] for number in random.permutation(len(untried))]
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
