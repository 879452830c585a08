"""Conditional hyperparameters: which are active, in which order, and as Optuna's distributions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras_tuner as kt
import optuna
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from recdrop_tune.errors import invalid_argument
from recdrop_tune.oracle.parameters import Parameter, Values
from recdrop_tune.oracle.parameters import parents_first as sorted_by_parents

# Only public parts of Keras Tuner's hyperparameters are used: `name`, `conditions`, `values`,
# `prob_to_value`.

HyperParameter = Any
"""A hyperparameter of Keras Tuner (`Choice`, `Int`, `Float`, `Boolean`, `Fixed`); it has no types."""


def parents_first(space: Sequence[HyperParameter]) -> list[HyperParameter]:
    """Orders a space so that every hyperparameter comes after those its conditions name.

    A space that went through Keras Tuner's protocol buffers comes back sorted by type, children
    before parents; drawn in that order the children would never be active.

    Args:
        space: The hyperparameters, in any order.

    Returns:
        The same hyperparameters; the given order is kept wherever it is possible.
    """
    return sorted_by_parents(space, lambda hp: {condition.name for condition in hp.conditions})


def is_active(hp: HyperParameter, values: Mapping[str, Any]) -> bool:
    """Says whether all conditions of a hyperparameter hold for the values drawn so far."""
    return all(condition.is_active(values) for condition in hp.conditions)


def walk(space: Sequence[HyperParameter], choose: Callable[[HyperParameter], Any]) -> Values:
    """Draws one configuration, parents first, and only what is active.

    Args:
        space: The hyperparameters.
        choose: Gives the value of one active hyperparameter that is not fixed.

    Returns:
        The value of every active hyperparameter, the fixed ones included.
    """
    values: Values = {}
    for hp in parents_first(space):
        if hp.name not in values and is_active(hp, values):
            values[hp.name] = hp.value if is_fixed(hp) else choose(hp)
    return values


def grid_values(hp: HyperParameter) -> list[Any]:
    """Lists the values of a hyperparameter that has no range, or one with a step, in order."""
    values = [plain(hp, value) for value in hp.values]
    return values if isinstance(hp, kt.engine.hyperparameters.Choice) else sorted(values)


def is_fixed(hp: HyperParameter) -> bool:
    """Says whether a hyperparameter has one value only, declared by `hp.Fixed`."""
    return isinstance(hp, kt.engine.hyperparameters.Fixed)


def plain(hp: HyperParameter, value: Any) -> Any:
    """Rids a value of the noise of floating-point steps: 0.3 for 0.30000000000000004."""
    if isinstance(hp, kt.engine.hyperparameters.Int):
        return round(value)
    if isinstance(hp, kt.engine.hyperparameters.Float) and hp.step is not None:
        return float(f"{value:.12g}")
    return value


def middle(hp: HyperParameter) -> Any:
    """Returns the middle value of a range, or of a list of choices as it was written."""
    return plain(hp, hp.prob_to_value(0.5))


Distribution = CategoricalDistribution | FloatDistribution | IntDistribution


def distribution(hp: HyperParameter) -> Distribution:
    """Returns the Optuna distribution that draws what a hyperparameter offers.

    Optuna has no logarithmic range with a step, so its values become a choice; a `reverse_log`
    range is drawn by its probability.
    """
    if not hasattr(hp, "min_value"):
        return CategoricalDistribution(grid_values(hp))
    if hp.sampling != "linear" and hp.step is not None:
        return CategoricalDistribution(grid_values(hp))
    if hp.sampling == "reverse_log":
        return FloatDistribution(0.0, 1.0)
    if isinstance(hp, kt.engine.hyperparameters.Int):
        return _int_distribution(hp)
    if hp.step is None:
        return FloatDistribution(hp.min_value, hp.max_value, log=hp.sampling == "log")
    # Optuna warns where the step does not divide the range; Keras Tuner stops at the last multiple.
    return FloatDistribution(hp.min_value, grid_values(hp)[-1], step=hp.step)


def _int_distribution(hp: HyperParameter) -> Distribution:
    if hp.sampling == "log":
        return IntDistribution(hp.min_value, hp.max_value, log=True)
    last = hp.max_value - (hp.max_value - hp.min_value) % hp.step
    return IntDistribution(hp.min_value, last, step=hp.step)


def parameters_of(space: Sequence[HyperParameter]) -> list[Parameter]:
    """Returns a space as an Optuna sampler can be told of it, parents first.

    What is fixed is in it too: conditions may be about it.
    """
    found = []
    for hp in parents_first(space):
        when: dict[str, list[Any]] = {}
        for condition in hp.conditions:
            had = when.get(condition.name, condition.values)
            when[condition.name] = [value for value in condition.values if value in had]
        drawn = CategoricalDistribution([hp.value]) if is_fixed(hp) else distribution(hp)
        found.append(Parameter(hp.name, drawn, when))
    return found


def suggest(asked: optuna.Trial, hp: HyperParameter) -> Any:
    """Draws the value of one hyperparameter from an Optuna trial.

    Args:
        asked: The trial, fresh from `study.ask()`. (`ask` itself takes distributions too, but all
            at once: a conditional space is known only as its values are drawn.)
        hp: The hyperparameter.
    """
    match distribution(hp):
        case CategoricalDistribution(choices=choices):
            return to_value(hp, asked.suggest_categorical(hp.name, choices))
        case IntDistribution(low=low, high=high, step=step, log=log):
            return to_value(hp, asked.suggest_int(hp.name, low, high, step=step, log=log))
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return to_value(hp, asked.suggest_float(hp.name, low, high, step=step, log=log))


def to_value(hp: HyperParameter, drawn: Any) -> Any:
    """Returns the hyperparameter's value for what Optuna drew."""
    if _by_probability(hp):
        # Keras Tuner's probabilities lie in [0, 1), Optuna's range is closed.
        return hp.prob_to_value(min(drawn, 1.0 - 1e-12))
    return plain(hp, drawn)


def to_drawn(hp: HyperParameter, value: Any) -> Any:
    """Returns what Optuna would have to draw for a hyperparameter's value."""
    return hp.value_to_prob(value) if _by_probability(hp) else value


def _by_probability(hp: HyperParameter) -> bool:
    return getattr(hp, "sampling", None) == "reverse_log" and hp.step is None


def in_words(hp: HyperParameter) -> str:
    """Says what values a hyperparameter has.

    Example:
        >>> in_words(kt.engine.hyperparameters.Float("rate", 0.1, 0.5, step=0.1))
        'from 0.1 to 0.5, in steps of 0.1'
    """
    if not hasattr(hp, "min_value"):
        values = choices(hp)
        return f"{'one of ' * (len(values) > 1)}{', '.join(map(repr, values))}"
    step = "" if hp.step is None else f", in steps of {hp.step:g}"
    times = " times" if step and hp.sampling != "linear" else ""
    whole = "a whole number " * isinstance(hp, kt.engine.hyperparameters.Int)
    return f"{whole}from {hp.min_value:g} to {hp.max_value:g}{step}{times}"


def is_same(hp: HyperParameter, other: HyperParameter) -> bool:
    """Says whether two hyperparameters are the same in all but what they begin with."""
    mine, its = ({**each.get_config(), "default": None} for each in (hp, other))
    return bool(mine == its)


def choices(hp: HyperParameter) -> list[Any]:
    """Lists the values of a hyperparameter that has no range, as they were written."""
    return [hp.value] if is_fixed(hp) else list(hp.values)


def check_names(space: Sequence[HyperParameter]) -> None:
    """Raises where one name is asked for under several conditions.

    Keras Tuner keeps one value for a name: where one of the hyperparameters is active and another one is
    not, `HyperParameters.ensure_active_values` deletes the value, or draws another one.

    Args:
        space: The hyperparameters.

    Raises:
        InvalidArgumentError: Two of them have one name.
    """
    for name, number in Counter(hp.name for hp in space).items():
        if number > 1:
            same = [f"{in_words(hp)} {_where(hp)}" for hp in space if hp.name == name]
            raise invalid_argument(
                "name",
                expected="hyperparameters with a name of their own",
                received=name,
                fix=f"`{name}` is {'; and '.join(same)}. Keras Tuner keeps one value for a name, and loses "
                "it where one of them is inactive. Give them different names; what `dropout_rnn` registers "
                "begins with its `name`. One that overrides the other, by `hyperparameters=`, has to be "
                "registered under the same conditions; what a search space has is set in the space.",
            )


def _where(hp: HyperParameter) -> str:
    """Says under which conditions a hyperparameter is active."""
    said = (f"{c.name} is {' or '.join(map(repr, c.values))}" for c in hp.conditions)
    return f"where {' and '.join(said)}" if hp.conditions else "everywhere"
