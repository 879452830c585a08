"""Picks the next configuration of a search: one that waits, a new one, or none if all are tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recdrop_tune.oracle.candidates import Candidates, Encoding
from recdrop_tune.oracle.conditions import (
    HyperParameter,
    complete,
    is_active,
    is_fixed,
    parameters_of,
    plain,
    to_drawn,
    to_value,
    walk,
)
from recdrop_tune.oracle.parameters import Values
from recdrop_tune.oracle.study import AskTell
from recdrop_tune.oracle.surrogate_sampler import SurrogateSampler

# Asks whose answers were all tried before the sampler counts as settled: each leaves a failed trial.
_MAX_DUPLICATES = 5
# More configurations than that are not listed in search of one not tried yet.
_MAX_LISTED = 20_000
# Places in a range, from 0 to 1, that are closer than that are one: a minimizer ends beside a range's end.
_ROUNDING = 1e-6


def propose(
    oracle: Any, study: AskTell, waiting: list[dict[str, Any]], trial_id: str
) -> Values | None:
    """Asks the sampler until its answer is new.

    Once it has settled on a region it asks for the same few points; their neighbours are what it would ask
    for next.

    Args:
        oracle: The oracle: its space, and what it has tried.
        study: Where to ask.
        waiting: Configurations to try first; those that are tried are taken off.
        trial_id: Keras Tuner's id of the trial.

    Returns:
        The active values, by name; `None` once the whole space has been tried.
    """
    space = oracle.hyperparameters.space
    tried = [trial.hyperparameters.values for trial in oracle.trials.values()]
    while waiting:
        values = complete(space, waiting.pop(0))
        if values not in tried:
            return study.ask_for(trial_id, space, values)
    sampler = study.study.sampler
    if isinstance(sampler, SurrogateSampler):
        sampler.space = parameters_of(space)  # Keras Tuner may find more of it while it searches.
    for _ in range(_MAX_DUPLICATES):
        values = study.ask(trial_id, space)
        if values not in tried:
            return values
        study.discard(trial_id)
    untried = not_again(oracle, values)
    return None if untried is None else study.ask_for(trial_id, space, untried)


def not_again(oracle: Any, wanted: Values) -> Values | None:
    """Returns a configuration if no trial has had it, else the one most like it that none has had.

    Also for oracles that propose without a look at what has been tried.

    Args:
        oracle: The oracle: its space, its trials and its seed.
        wanted: The active values of the configuration, by name.

    Returns:
        Active values, by name; `None` where all of a small space has been tried. A space that is too large
        to be listed is never found to be all tried.
    """
    space = oracle.hyperparameters.space
    parameters = parameters_of(space)
    trials = (trial.hyperparameters.values for trial in oracle.trials.values())
    # A trial whose file was lost says nothing of any place.
    tried = [_drawn(space, values) for values in trials if values]
    encoding = Encoding(parameters)
    place = encoding([_drawn(space, wanted)])
    gaps = np.abs(encoding(tried) - place).max(axis=1, initial=0.0)
    if not (gaps < _ROUNDING).any():
        known = {hp.name: hp for hp in space}
        # Keras Tuner computes 0.30000000000000004 for 0.3.
        return {name: plain(known[name], v) if name in known else v for name, v in wanted.items()}
    candidates = Candidates(parameters, _MAX_LISTED)
    random = np.random.default_rng([oracle.seed, len(tried)])
    keys = {candidates.key(values) for values in tried}
    untried = candidates.untried(keys, [_drawn(space, wanted)], random)
    if not untried:
        return None
    nearest = untried[int(np.abs(encoding(untried) - place).sum(axis=1).argmin())]
    return walk(space, lambda hp: to_value(hp, nearest[hp.name]))


def _drawn(space: Sequence[HyperParameter], values: Mapping[str, Any]) -> Values:
    """Returns the values that Optuna would have drawn, without what is fixed."""
    return {
        hp.name: to_drawn(hp, plain(hp, values[hp.name]))
        for hp in space
        if hp.name in values and not is_fixed(hp) and is_active(hp, values)
    }
