"""The twin of a configuration: the same hyperparameters, without dropout.

What dropout is worth is the difference between the two. Compared with any other configuration without
dropout, it would be credited with what a learning rate or a number of units did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.oracle.conditions import (
    HyperParameter,
    is_active,
    is_fixed,
    middle,
    parents_first,
)
from recdrop_tune.oracle.parameters import Values
from recdrop_tune.oracle.scores import pareto

NONE = "none"
"""The value of `wrapper` that stands for no dropout."""

Configuration = tuple[str, bool]
"""A configuration that is trained: the id of a trial, and whether it is the twin of that trial's."""


def is_wrapper(hp: HyperParameter) -> bool:
    """Says whether a hyperparameter is a layer's `wrapper`, and not something else of that name.

    `dropout_rnn` puts the name of a layer before it: `encoder/wrapper`.
    """
    return hp.name.rpartition("/")[2] == "wrapper" and set(hp.values) <= set(TECHNIQUES)


def offers_none(space: Sequence[HyperParameter]) -> bool:
    """Says whether a space has wrappers, all of which can be left away, so that twins lie in it."""
    wrappers = [hp for hp in space if is_wrapper(hp)]
    return bool(wrappers) and all(NONE in hp.values for hp in wrappers)


def twin_values(space: Sequence[HyperParameter], values: Mapping[str, Any]) -> Values | None:
    """Returns the values of the twin of a configuration.

    Placement, rate, schedule, locked and embedding dropout are active under the wrappers that drop, and
    so go with them.

    Args:
        space: The hyperparameters of the search.
        values: The values of the configuration by name, those of its inactive hyperparameters perhaps
            included.

    Returns:
        The active values of the twin, which are those of the configuration itself where it has no
        dropout; `None` where no hyperparameter is a wrapper.
    """
    found: Values = {}
    wrappers = 0
    for hp in parents_first(space):
        if hp.name in found or not is_active(hp, found):
            continue
        if is_wrapper(hp):
            found[hp.name] = NONE
            wrappers += 1
        elif hp.name in values:
            found[hp.name] = values[hp.name]
        else:  # Active without dropout alone.
            found[hp.name] = hp.value if is_fixed(hp) else middle(hp)
    if not wrappers:
        return None
    known = {hp.name for hp in space}
    # What a tuner adds for itself, such as Hyperband's epochs.
    return found | {name: value for name, value in values.items() if name not in known}


def active_values(hyperparameters: Any) -> Values:
    """Returns the active values of `keras_tuner.HyperParameters`, and what a tuner has added."""
    values, space = hyperparameters.values, hyperparameters.space
    inactive = {hp.name for hp in space} - {hp.name for hp in space if is_active(hp, values)}
    return {name: value for name, value in values.items() if name not in inactive}


def twin_of(hyperparameters: Any) -> Any | None:
    """Returns the `keras_tuner.HyperParameters` of the twin; `None` where no one of them is a wrapper.

    Args:
        hyperparameters: Those of a trial.
    """
    values = twin_values(hyperparameters.space, hyperparameters.values)
    if values is None:
        return None
    twin = hyperparameters.copy()
    twin.values = values
    return twin


def has_dropout(hyperparameters: Any) -> bool:
    """Says whether a configuration has a wrapper that drops.

    Args:
        hyperparameters: The `keras_tuner.HyperParameters` of a trial.
    """
    values = active_values(hyperparameters)
    wrappers = {hp.name for hp in hyperparameters.space if is_wrapper(hp)}
    return any(values.get(name, NONE) != NONE for name in wrappers)


def twin_among(
    oracle: Any, trial: Any, configurations: Iterable[Configuration]
) -> Configuration | None:
    """Finds the twin of a trial's configuration among others; `None` if it is not there.

    Args:
        oracle: The oracle, which knows all of the trials.
        trial: The trial.
        configurations: Where to look.
    """
    wanted = twin_values(trial.hyperparameters.space, trial.hyperparameters.values)
    for trial_id, twin in configurations:
        other = oracle.trials[trial_id].hyperparameters
        values = twin_values(other.space, other.values) if twin else active_values(other)
        if values == wanted:
            return trial_id, twin
    return None


def due_twin(oracle: Any) -> Values | None:
    """Returns the twin of the best configuration with dropout, if it is still to be tried.

    Args:
        oracle: The oracle, with at least one complete trial.

    Returns:
        Its values; `None` where it has been tried, where no trial with dropout is complete, or where the
        space offers no twins.
    """
    space = oracle.hyperparameters.space
    if not offers_none(space):
        return None
    best = best_dropping(oracle)
    values = None if best is None else twin_values(space, best.hyperparameters.values)
    # One that was stopped early is tried once more: what it would have come to is not known.
    tried = [trial for trial in oracle.trials.values() if trial.status != "STOPPED"]
    if values is None or any(active_values(each.hyperparameters) == values for each in tried):
        return None
    return values


def best_dropping(oracle: Any) -> Any | None:
    """Returns the best complete trial that has dropout; `None` if there is none."""
    return next((t for t in ranked(oracle) if has_dropout(t.hyperparameters)), None)


def ranked(oracle: Any) -> list[Any]:
    """Lists the complete trials of an oracle, the best by its first objective first."""
    best = oracle.get_best_trials(len(oracle.trials))
    return [trial for trial in best if trial.status == "COMPLETED"]


def front(oracle: Any) -> list[Any]:
    """Lists the complete trials that no other one beats in every objective."""
    return pareto(oracle.trials.values(), oracle.objective)
