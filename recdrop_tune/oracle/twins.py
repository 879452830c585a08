"""The twin of a configuration: the same hyperparameters, without dropout.

The gain of dropout is the difference between the two. Compared with any other configuration without dropout,
the difference would include that of a learning rate or a number of units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras_tuner as kt
from keras_tuner.engine.trial import TrialStatus

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.events import Configuration
from recdrop_tune.hyperparameters import NONE, drops
from recdrop_tune.oracle.conditions import HyperParameter, is_active, middle, parents_first
from recdrop_tune.oracle.parameters import Values


def is_wrapper(hp: HyperParameter) -> bool:
    """Returns whether a hyperparameter chooses the wrapper of a layer.

    `dropout_rnn` puts the name of a layer before it: `encoder/wrapper`.
    """
    return hp.name.rpartition("/")[2] == "wrapper" and set(hp.values) <= set(TECHNIQUES)


def offers_none(space: Sequence[HyperParameter]) -> bool:
    """Returns whether a space has wrappers and all of them can be `"none"`, so that it contains twins."""
    wrappers = [hp for hp in space if is_wrapper(hp)]
    return bool(wrappers) and all(NONE in hp.values for hp in wrappers)


def twin_values(space: Sequence[HyperParameter], values: Mapping[str, Any]) -> Values | None:
    """Returns the active values of the twin of a configuration; None if no hyperparameter is a wrapper.

    Placement, rate, schedule, locked and embedding dropout are inactive without a wrapper. A configuration
    without dropout is its own twin.
    """
    found: Values = {}
    for hp in parents_first(space):
        if hp.name not in found and is_active(hp, found):
            # Some are active only without dropout: the configuration has no value of theirs.
            found[hp.name] = NONE if is_wrapper(hp) else values.get(hp.name, middle(hp))
    if not any(is_wrapper(hp) and hp.name in found for hp in space):
        return None
    known = {hp.name for hp in space}
    # Values that a tuner adds, such as the epochs of Hyperband.
    return found | {name: value for name, value in values.items() if name not in known}


def active_values(hyperparameters: Any) -> Values:
    """Returns the active values of `keras_tuner.HyperParameters`, and those that a tuner has added."""
    values, space = hyperparameters.values, hyperparameters.space
    inactive = {hp.name for hp in space} - {hp.name for hp in space if is_active(hp, values)}
    return {name: value for name, value in values.items() if name not in inactive}


def twin_of(hyperparameters: Any) -> Any | None:
    """Returns the `keras_tuner.HyperParameters` of the twin of a trial; None if none of them is a wrapper."""
    values = twin_values(hyperparameters.space, hyperparameters.values)
    if values is None:
        return None
    twin = hyperparameters.copy()
    twin.values = values
    return twin


def values_with_dropout(
    space: Sequence[HyperParameter], values: Mapping[str, Any], donor: Mapping[str, Any]
) -> Values:
    """Returns the active values of a configuration after replacing its dropout by another one's."""
    shared = twin_values(space, values) or {}
    found: Values = {}
    for hp in parents_first(space):
        if hp.name not in found and is_active(hp, found):
            source = donor if is_wrapper(hp) or hp.name not in shared else shared
            found[hp.name] = source.get(hp.name, NONE if is_wrapper(hp) else middle(hp))
    known = {hp.name for hp in space}
    return found | {name: value for name, value in values.items() if name not in known}


def trial_of(oracle: Any, configuration: Configuration) -> Any:
    """Returns a configuration as a `keras_tuner` trial; the oracle knows it only if it is a trial's own."""
    trial = oracle.trials[configuration.trial_id]
    if not configuration.suffix:
        return trial
    # The trial can lack hyperparameters that only the other dropout has.
    hyperparameters = oracle.hyperparameters if configuration.dropout_of else trial.hyperparameters
    hyperparameters = hyperparameters.copy()
    hyperparameters.values = _values_of(oracle, configuration)
    return kt.engine.trial.Trial(hyperparameters, configuration.name, status=TrialStatus.COMPLETED)


def _values_of(oracle: Any, configuration: Configuration) -> Values | None:
    """Returns the active values of a configuration."""
    own = oracle.trials[configuration.trial_id].hyperparameters
    if configuration.twin:
        return twin_values(own.space, own.values)
    if configuration.dropout_of is None:
        return active_values(own)
    donor = oracle.trials[configuration.dropout_of].hyperparameters
    return values_with_dropout(oracle.hyperparameters.space, own.values, donor.values)


def has_dropout(hyperparameters: Any) -> bool:
    """Returns whether the `keras_tuner.HyperParameters` of a trial have a wrapper with dropout."""
    return drops(active_values(hyperparameters))


def same_among(
    oracle: Any, wanted: Configuration, configurations: Iterable[Configuration]
) -> Configuration | None:
    """Finds a configuration with the same values among others; returns None if it is not among them."""
    values = _values_of(oracle, wanted)
    return next((each for each in configurations if _values_of(oracle, each) == values), None)


def twin_among(
    oracle: Any, wanted: Configuration, configurations: Iterable[Configuration]
) -> Configuration | None:
    """Finds the twin of a configuration among others; returns None if it is not among them."""
    # Any dropout has the same twin.
    return same_among(oracle, Configuration(wanted.trial_id, twin=True), configurations)


def twin_of_best(oracle: Any) -> Values | None:
    """Returns the values of the twin of the best configuration with dropout.

    None if no trial with dropout is complete, or the space has no twins.
    """
    space = oracle.hyperparameters.space
    if not offers_none(space):
        return None
    best = next((trial for trial in ranked(oracle) if has_dropout(trial.hyperparameters)), None)
    return None if best is None else twin_values(space, best.hyperparameters.values)


def due_twin(oracle: Any) -> Values | None:
    """Returns the values of the twin of the best configuration with dropout, if it has not been tried."""
    # A twin that was pruned is tried again, as its final score is not known.
    known = [trial for trial in oracle.trials.values() if trial.status != TrialStatus.STOPPED]
    values = twin_of_best(oracle)
    return None if values in [active_values(each.hyperparameters) for each in known] else values


def ranked(oracle: Any) -> list[Any]:
    """Lists the complete trials of an oracle, best first."""
    best = oracle.get_best_trials(len(oracle.trials))
    return [trial for trial in best if trial.status == TrialStatus.COMPLETED]
