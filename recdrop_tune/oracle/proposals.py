"""Picks the next configuration of a search: one that waits, a new one, or none if all are tried."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from recdrop_tune.oracle.ask_tell import AskTell
from recdrop_tune.oracle.candidates import Candidates, Encoding, frozen, places
from recdrop_tune.oracle.conditions import (
    HyperParameter,
    Values,
    combinations,
    complete,
    count_values,
    is_fixed,
    plain,
)

# Asks whose answers were all tried before the sampler counts as settled: each leaves a failed trial.
_MAX_DUPLICATES = 5
# More configurations than that are not listed in search of one not tried yet.
_MAX_LISTED = 20_000
# Places in a range, from 0 to 1, that are closer than that are one: a minimizer ends beside a range's end.
_ROUNDING = 1e-6


def propose(
    oracle: Any, study: AskTell, waiting: list[dict[str, Any]], trial_id: str
) -> Values | None:
    """Asks the surrogate, or the sampler until its answer is new.

    Args:
        oracle: The oracle: its space, and what it has tried.
        study: Where to ask.
        waiting: Configurations to try first; those that are tried are taken off.
        trial_id: Keras Tuner's id of the trial.

    Returns:
        The active values, by name; `None` once the whole space has been tried.
    """
    space = oracle.hyperparameters.space
    while waiting:
        values = complete(space, waiting.pop(0))
        if not _tried(oracle, values):
            return study.ask_for(trial_id, space, values)
    surrogate = oracle.surrogate
    if surrogate is not None and not study.has_waiting():
        values = surrogate.propose(space, oracle.trials, oracle.objective)
        if values is not None:
            return study.ask_for(trial_id, space, values)
    tried = {frozen(trial.hyperparameters.values) for trial in oracle.trials.values()}
    for _ in range(_MAX_DUPLICATES):
        values = study.ask(trial_id, space)
        if frozen(values) not in tried:
            return values
        study.discard(trial_id)
    untried = _nearest_untried(space, tried, values)
    return None if untried is None else study.ask_for(trial_id, space, untried)


def not_again(oracle: Any, wanted: Values) -> Values | None:
    """Returns a configuration if no trial has had it, else the one most like it that none has had.

    For oracles that propose without a look at what has been tried.

    Args:
        oracle: The oracle: its space, its trials and its seed.
        wanted: The active values of the configuration, by name.

    Returns:
        Active values, by name; `None` where all of a small space has been tried. A space that is too large
        to be listed is never found to be all tried.
    """
    space = oracle.hyperparameters.space
    wanted = _without_noise(space, wanted)
    tried = [_without_noise(space, t.hyperparameters.values) for t in oracle.trials.values()]
    if not any(_same(space, wanted, values) for values in tried):
        return wanted
    random = np.random.default_rng([oracle.seed, len(tried)])
    untried = Candidates(space).untried({frozen(values) for values in tried}, [wanted], random)
    if not untried:
        return None
    points = Encoding(space)([wanted, *untried])
    return untried[int(np.abs(points[1:] - points[0]).sum(axis=1).argmin())]


def _without_noise(space: Sequence[HyperParameter], values: Mapping[str, Any]) -> Values:
    """Returns values as the space lists them: Keras Tuner computes 0.30000000000000004 for 0.3."""
    known = {hp.name: hp for hp in space}
    return {name: plain(known[name], v) if name in known else v for name, v in values.items()}


def _same(space: Sequence[HyperParameter], one: Values, other: Values) -> bool:
    """Says whether two configurations are the same, or no more than rounding apart."""
    if one.keys() != other.keys():
        return False
    ranges = {hp.name: hp for hp in space if count_values(hp) == math.inf}
    for name, value in one.items():
        if value != other[name] and name not in ranges:
            return False
        if name in ranges:
            places_of = [float(ranges[name].value_to_prob(v)) for v in (value, other[name])]
            if abs(places_of[0] - places_of[1]) > _ROUNDING:
                return False
    return True


def _tried(oracle: Any, values: Values) -> bool:
    return any(trial.hyperparameters.values == values for trial in oracle.trials.values())


def _nearest_untried(
    space: Sequence[HyperParameter], tried: Container[Any], wanted: Values
) -> Values | None:
    """Finds what is most like the configuration that the sampler wants and cannot have again.

    Once the sampler has settled on a region it asks for the same few points; their neighbours are what
    it would ask for next. `None` where all has been tried.
    """
    if any(count_values(hp) > _MAX_LISTED for hp in space):
        return None
    ranges = {hp.name: places(hp) for hp in space if not is_fixed(hp)}
    untried = (
        values for values in islice(combinations(space), _MAX_LISTED) if frozen(values) not in tried
    )
    return min(untried, key=lambda values: _distance(ranges, values, wanted), default=None)


def _distance(ranges: Mapping[str, Mapping[Any, float]], one: Values, other: Values) -> float:
    """Adds up the distances of numbers, and 1 for each name or hyperparameter that the other lacks."""
    total = 0.0
    for name in ranges:
        if one.get(name) != other.get(name):
            here, there = (ranges[name].get(values.get(name)) for values in (one, other))
            total += 1.0 if here is None or there is None else abs(here - there)
    return total
