"""Which configurations are the same, which a sampler should not propose, and what is tried instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import islice, product
from typing import Any

import numpy as np

from recdrop_tune.catalog import TECHNIQUES, noise
from recdrop_tune.hyperparameters import NONE, has_wrapper
from recdrop_tune.oracle.conditions import is_active, parameters_of, plain, to_value, walk
from recdrop_tune.oracle.parameters import Candidates, Encoding, Key, Values, combinations
from recdrop_tune.oracle.samplers import EXHAUSTIVE
from recdrop_tune.oracle.study import as_optuna
from recdrop_tune.oracle.twins import active_values, is_wrapper, offers_none
from recdrop_tune.spaces import plain_names

_OPTIONS = {"per_step": True, "function": "bernoulli"}
"""The options that decide whether two wrappers are the same dropout, and their defaults."""

_MOST_LISTED = 20_000
"""Larger spaces are not listed: they count as never exhausted."""


def _noises(oracle: Any, values: Mapping[str, Any]) -> dict[str, str]:
    """Returns the noise of each layer whose wrapper is known to be one of the catalog, by its prefix."""
    found = {}
    for layer, returns_steps in getattr(oracle, "returns_steps", {}).items():
        wrapper, placement = values.get(f"{layer}wrapper"), values.get(f"{layer}placement")
        if wrapper in TECHNIQUES and placement is not None:
            # All but the last layer of a stack return their steps.
            steps = returns_steps or values.get(f"{layer}layers", 1) != 1
            options = [values.get(layer + name, default) for name, default in _OPTIONS.items()]
            found[layer] = noise(wrapper, placement, steps, *options)
    return {layer: name for layer, name in found.items() if name is not None}


def key(oracle: Any, values: Mapping[str, Any]) -> Key:
    """Returns what a configuration computes, as a member of sets: two names of one dropout have one key."""
    space = oracle.hyperparameters.space
    active = [hp for hp in space if hp.name in values and is_active(hp, values)]
    found = plain_names({hp.name: plain(hp, values[hp.name]) for hp in active})
    for layer, name in _noises(oracle, found).items():
        found |= {f"{layer}wrapper": name, **{layer + option: None for option in _OPTIONS}}
    return frozenset(found.items())


def keys_of_trials(oracle: Any) -> set[Key]:
    """Returns the keys of all trials."""
    return {key(oracle, trial.hyperparameters.values) for trial in oracle.trials.values()}


def as_drawn(oracle: Any, drawn: Values) -> Values:
    """Returns the values of a configuration as Optuna draws it."""
    return walk(oracle.hyperparameters.space, lambda hp: to_value(hp, drawn[hp.name]))


def key_of_drawn(oracle: Any, drawn: Values) -> Key:
    """Returns the `key` of a configuration as Optuna draws it."""
    space = oracle.hyperparameters.space
    return key(oracle, {hp.name: to_value(hp, drawn[hp.name]) for hp in space if hp.name in drawn})


def other_names(oracle: Any, hyperparameters: Any) -> dict[str, list[str]]:
    """Returns the other wrappers of the space that are a trial's dropout, by their hyperparameter."""
    offered = {hp.name: hp.values for hp in hyperparameters.space}
    values = plain_names(active_values(hyperparameters))
    found: dict[str, list[str]] = {}
    for layer, same in _noises(oracle, values).items():
        name, placement = f"{layer}wrapper", values[f"{layer}placement"]
        options = [
            [(layer + option, value) for value in offered.get(layer + option, [default])]
            for option, default in _OPTIONS.items()
        ]
        for other in offered[name]:
            tries = ({**values, name: other, **dict(each)} for each in product(*options))
            same_noise = any(_noises(oracle, each).get(layer) == same for each in tries)
            if other != values[name] and placement in TECHNIQUES[other].placements and same_noise:
                found.setdefault(name, []).append(other)
    return found


def limits(oracle: Any) -> Callable[[Values], bool]:
    """Returns a function that returns whether the sampler is to propose another configuration.

    Trials without dropout are limited to a share, and no cell is tried a third time before another one's
    first. Both follow from the trials, so they hold with several workers and after a restart.
    """
    if isinstance(oracle.study.sampler, EXHAUSTIVE):
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
    """Returns the untried configuration that is most like a given one; None if all have been tried.

    A sampler that has settled on a region asks for the same few points again; it would ask for their
    neighbours next. If the given one is refused, its other settings are kept, and the dropout is drawn.

    Args:
        oracle: The oracle: its space, its trials and its seed.
        wanted: The active values of a configuration that has been tried or is refused.
        refuses: What is tried only if nothing else is left; see `limits`.
    """
    space = oracle.hyperparameters.space
    parameters = parameters_of(space)
    candidates, encoding = Candidates(parameters, _MOST_LISTED), Encoding(parameters)
    point, _ = as_optuna(space, wanted)
    random = np.random.default_rng([oracle.seed, len(oracle.trials)])
    offered = candidates.untried((), [point], random)
    if refuses(wanted):
        limited = [hp.name for hp in space if hp.name.rpartition("/")[2] in ("wrapper", "cell")]
        encoding = Encoding(p for p in parameters if p.name in wanted and p.name not in limited)
        offered = [offered[number] for number in random.permutation(len(offered))]
    distances = np.abs(encoding(offered) - encoding([point])).sum(axis=1)
    ordered = [offered[number] for number in np.argsort(distances, kind="stable")]
    ordered.sort(key=refuses)  # Refused points come last.
    tried = keys_of_trials(oracle)
    untried = (each for each in ordered if key_of_drawn(oracle, each) not in tried)
    return next((as_drawn(oracle, each) for each in untried), None)


def tried_of_all(oracle: Any, most: int = _MOST_LISTED) -> tuple[int, int] | None:
    """Counts the configurations of a search space that were tried, and all of them.

    None if the space has more than `most`, or hyperparameters that cannot be listed.
    """
    try:
        parameters = parameters_of(oracle.hyperparameters.space)
    except Exception:  # User-defined hyperparameters; a search must not fail because of a count.
        return None
    if any(each.values is None for each in parameters):
        return None
    listed = list(islice(combinations(parameters), most + 1))
    if len(listed) > most:
        return None
    every = {key_of_drawn(oracle, values) for values in listed}
    return len(every & keys_of_trials(oracle)), len(every)


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
    """Returns what `tried_of_all` does if a search ended before `max_trials` because all has been tried."""
    if oracle.max_trials and len(oracle.trials) >= oracle.max_trials:
        return None
    found = tried_of_all(oracle)
    return found if found is not None and found[0] == found[1] else None
