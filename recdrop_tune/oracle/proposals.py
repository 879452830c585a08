"""Which configurations were tried, which a sampler should not propose, and what is tried instead."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable
from typing import Any

import keras_tuner as kt
import numpy as np

from recdrop_tune.encoding import Encoding
from recdrop_tune.hyperparameters import (
    NONE,
    Key,
    Values,
    active_rows,
    has_wrapper,
    key_of,
    offers_none,
)
from recdrop_tune.oracle.candidates import Candidates, listed_configurations
from recdrop_tune.oracle.samplers import EXHAUSTIVE
from recdrop_tune.oracle.searching import Searching
from recdrop_tune.oracle.translation import read_space, read_values

_MOST_LISTED = 20_000
"""Larger spaces are not listed: they count as never exhausted."""


class _Covered:
    """The keys of trials, and of all configurations that add hyperparameters to one of them."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._by_names: dict[frozenset[str], set[Key]] = defaultdict(set)
        for key in keys:
            self._by_names[frozenset(name for name, _ in key)].add(key)

    def __contains__(self, key: Any) -> bool:
        return any(
            frozenset(item for item in key if item[0] in names) in keys
            for names, keys in self._by_names.items()
        )


def keys_of_trials(oracle: kt.Oracle) -> Container[Key]:
    """Returns the keys of the configurations that an oracle has tried; any oracle.

    A trial of a grid that lacks a hyperparameter never asked for it, so it has tried all of its values.
    """
    space = read_space(oracle.hyperparameters.space)
    trials = oracle.trials.values()
    keys = {key_of(read_values(space, trial.hyperparameters.values)) for trial in trials}
    return _Covered(keys) if getattr(oracle, "sampler", None) == "grid" else keys


def limits(oracle: Searching) -> Callable[[Values], bool]:
    """Returns a predicate for the configurations that the sampler should not propose.

    Trials without dropout are limited to a share, and no cell is tried a third time before another one's
    first. Both follow from the trials, so they hold with several workers and after a restart.
    """
    if isinstance(oracle.study.sampler, EXHAUSTIVE):
        return lambda values: False
    space = oracle.space
    tried = [oracle.configuration_of(trial) for trial in oracle.trials.values()]
    drops = any(set(row.choices or ()) != {NONE} for row in space if row.is_wrapper)
    # This trial, and the twin at the end.
    more = 1 + (oracle.twin_last and offers_none(space))
    without = more + sum(has_wrapper(values, NONE) for values in tried)
    full = drops and without > oracle.max_none_share * (len(tried) + more) + 1e-9
    often: dict[str, set[Any]] = {}
    for row in space:
        if row.kind == "cell" and row.choices:
            counts = Counter(values.get(row.key) for values in tried)
            if not all(counts[value] for value in row.choices):
                often[row.key] = {value for value in row.choices if counts[value] >= 2}

    def refuses(values: Values) -> bool:
        without_dropout = full and has_wrapper(values, NONE)
        return without_dropout or any(values.get(key) in often[key] for key in often)

    return refuses


def nearest_untried(
    oracle: Searching, wanted: Values, refuses: Callable[[Values], bool]
) -> Values | None:
    """Returns the untried configuration that is most like a given one; None if all have been tried.

    A sampler that has settled on a region asks for the same few points again; it would ask for their
    neighbours next. If the given one is refused, its other settings are kept, and the dropout is drawn. What
    `refuses` rejects is tried only if nothing else is left.
    """
    space, encoding = oracle.space, Encoding(oracle.space)
    random = np.random.default_rng([oracle.seed, len(oracle.trials)])
    offered = Candidates(space, _MOST_LISTED).untried((), [wanted], random)
    if refuses(wanted):
        kept = (row for row in active_rows(space, wanted) if row.kind not in ("wrapper", "cell"))
        encoding = Encoding(kept)
        offered = [offered[number] for number in random.permutation(len(offered))]
    distances = np.abs(encoding(offered) - encoding([wanted])).sum(axis=1)
    ordered = [offered[number] for number in np.argsort(distances, kind="stable")]
    ordered.sort(key=refuses)  # Refused points come last.
    tried = keys_of_trials(oracle)
    return next((values for values in ordered if key_of(values) not in tried), None)


def tried_of_all(oracle: kt.Oracle, most: int = _MOST_LISTED) -> tuple[int, int] | None:
    """Counts the configurations of a search space that were tried, and all of them.

    None if the space has more than `most`, or hyperparameters that cannot be listed.
    """
    try:
        listed = listed_configurations(read_space(oracle.hyperparameters.space), most)
    except Exception:  # User-defined hyperparameters; a search must not fail because of a count.
        return None
    if listed is None:
        return None
    tried = keys_of_trials(oracle)
    every = {key_of(values) for values in listed}
    return sum(key in tried for key in every), len(every)


def fewer_than_trials(oracle: kt.Oracle) -> int | None:
    """Returns the number of configurations in a search space if it is less than `max_trials`, else None.

    Keras Tuner's Hyperband is never short of them, as it trains a configuration several times.
    """
    limit = oracle.max_trials
    if not limit or hasattr(oracle, "hyperband_iterations"):
        return None
    counts = tried_of_all(oracle, limit - 1)
    return None if counts is None else counts[1]


def exhausted(oracle: kt.Oracle) -> tuple[int, int] | None:
    """Returns what `tried_of_all` does if a search ended before `max_trials` because all has been tried."""
    if oracle.max_trials and len(oracle.trials) >= oracle.max_trials:
        return None
    counts = tried_of_all(oracle)
    return counts if counts is not None and counts[0] == counts[1] else None
