"""The twin of a configuration: the same hyperparameters, without dropout.

The gain of dropout is the difference between the two. Compared with any other configuration without dropout,
the difference would include that of a learning rate or a number of units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras_tuner as kt

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.oracle.conditions import HyperParameter, is_active, middle, parents_first
from recdrop_tune.oracle.parameters import Values
from recdrop_tune.standing import NONE, drops

Configuration = tuple[str, bool]
"""A configuration to train: the id of a trial, and whether its twin is meant."""


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


def twin_trial(trial: Any) -> Any:
    """Returns the twin of a trial with a wrapper as a `keras_tuner` trial, which the oracle does not know."""
    values = twin_of(trial.hyperparameters)
    name = configuration_name((trial.trial_id, True))
    return kt.engine.trial.Trial(values, name, status="COMPLETED")


def configuration_name(configuration: Configuration) -> str:
    """Names a configuration: `3`, or `3_twin` for the twin of that trial."""
    trial_id, twin = configuration
    return f"{trial_id}_twin" if twin else trial_id


def has_dropout(hyperparameters: Any) -> bool:
    """Returns whether the `keras_tuner.HyperParameters` of a trial have a wrapper with dropout."""
    return drops(active_values(hyperparameters))


def twin_among(
    oracle: Any, trial: Any, configurations: Iterable[Configuration]
) -> Configuration | None:
    """Finds the twin of a trial's configuration among others; returns None if it is not among them."""
    wanted = twin_values(trial.hyperparameters.space, trial.hyperparameters.values)
    for trial_id, twin in configurations:
        other = oracle.trials[trial_id].hyperparameters
        values = twin_values(other.space, other.values) if twin else active_values(other)
        if values == wanted:
            return trial_id, twin
    return None


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
    known = [trial for trial in oracle.trials.values() if trial.status != "STOPPED"]
    values = twin_of_best(oracle)
    return None if values in [active_values(each.hyperparameters) for each in known] else values


def ranked(oracle: Any) -> list[Any]:
    """Lists the complete trials of an oracle, best first."""
    best = oracle.get_best_trials(len(oracle.trials))
    return [trial for trial in best if trial.status == "COMPLETED"]
