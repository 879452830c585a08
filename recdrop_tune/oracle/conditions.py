"""Conditional hyperparameters: which are active, in which order, and as Optuna's distributions.

Only public parts of Keras Tuner's hyperparameters are used: `name`, `conditions`, `values`, `prob_to_value`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras_tuner as kt
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from recdrop_tune.errors import invalid_argument
from recdrop_tune.oracle.parameters import Parameter, Values
from recdrop_tune.oracle.parameters import parents_first as sorted_by_parents

HyperParameter = Any
"""A hyperparameter of Keras Tuner (`Choice`, `Int`, `Float`, `Boolean`, `Fixed`), which has no types."""

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution


def parents_first(space: Sequence[HyperParameter]) -> list[HyperParameter]:
    """Orders a space so that every hyperparameter comes after those in its conditions.

    Keras Tuner's protocol buffers sort a space by type, children before parents. Drawn in that order, the
    children would never be active.
    """
    return sorted_by_parents(space, lambda hp: {condition.name for condition in hp.conditions})


def is_active(hp: HyperParameter, values: Mapping[str, Any]) -> bool:
    """Returns whether all conditions of a hyperparameter hold for the values drawn so far."""
    return all(condition.is_active(values) for condition in hp.conditions)


def walk(space: Sequence[HyperParameter], choose: Callable[[HyperParameter], Any]) -> Values:
    """Draws the values of all active hyperparameters, parents first; `choose` draws one that is not fixed."""
    values: Values = {}
    for hp in parents_first(space):
        if hp.name not in values and is_active(hp, values):
            values[hp.name] = hp.value if is_fixed(hp) else choose(hp)
    return values


def is_fixed(hp: HyperParameter) -> bool:
    """Returns whether a hyperparameter was declared by `hp.Fixed`."""
    return isinstance(hp, kt.engine.hyperparameters.Fixed)


def plain(hp: HyperParameter, value: Any) -> Any:
    """Removes the rounding error of steps from a value: 0.3 for 0.30000000000000004."""
    if isinstance(hp, kt.engine.hyperparameters.Int):
        return round(value)
    if isinstance(hp, kt.engine.hyperparameters.Float) and hp.step is not None:
        return float(f"{value:.12g}")
    return value


def middle(hp: HyperParameter) -> Any:
    """Returns the middle value of a range, or of a list of choices as it was written."""
    return plain(hp, hp.prob_to_value(0.5))


def distribution(hp: HyperParameter) -> Distribution:
    """Returns the Optuna distribution of a hyperparameter's values.

    Optuna has no logarithmic range with a step, so its values become a choice. A `reverse_log` range is drawn
    by its probability.
    """
    if not hasattr(hp, "min_value") or (hp.sampling != "linear" and hp.step is not None):
        values = [plain(hp, value) for value in hp.values]
        is_choice = isinstance(hp, kt.engine.hyperparameters.Choice)
        return CategoricalDistribution(values if is_choice else sorted(values))
    low, high, step = hp.min_value, hp.max_value, hp.step
    if hp.sampling == "reverse_log":
        return FloatDistribution(0.0, 1.0)
    if isinstance(hp, kt.engine.hyperparameters.Int):
        if hp.sampling == "log":
            return IntDistribution(low, high, log=True)
        # Optuna warns if the step does not divide the range; Keras Tuner stops at the last multiple.
        return IntDistribution(low, high - (high - low) % step, step=step)
    if step is None:
        return FloatDistribution(low, high, log=hp.sampling == "log")
    return FloatDistribution(low, max(plain(hp, value) for value in hp.values), step=step)


def parameters_of(space: Sequence[HyperParameter]) -> list[Parameter]:
    """Returns a space as a `SurrogateSampler` takes it, parents first, with the fixed hyperparameters."""
    found = []
    for hp in parents_first(space):
        when: dict[str, list[Any]] = {}
        for condition in hp.conditions:
            allowed = when.get(condition.name, condition.values)
            when[condition.name] = [value for value in condition.values if value in allowed]
        drawn = CategoricalDistribution([hp.value]) if is_fixed(hp) else distribution(hp)
        found.append(Parameter(hp.name, drawn, when))
    return found


def suggest(asked: optuna.Trial, hp: HyperParameter) -> Any:
    """Draws the value of one hyperparameter from an Optuna trial.

    `study.ask` takes distributions too, but all at once: a conditional space is known only while it is drawn.
    """
    match distribution(hp):
        case CategoricalDistribution(choices=choices):
            return to_value(hp, asked.suggest_categorical(hp.name, choices))
        case IntDistribution(low=low, high=high, step=step, log=log):
            return to_value(hp, asked.suggest_int(hp.name, low, high, step=step, log=log))
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return to_value(hp, asked.suggest_float(hp.name, low, high, step=step, log=log))


def to_value(hp: HyperParameter, drawn: Any) -> Any:
    """Returns the hyperparameter's value for the number that Optuna drew."""
    if _by_probability(hp):
        # Keras Tuner's probabilities lie in [0, 1), Optuna's range is closed.
        return hp.prob_to_value(min(drawn, 1.0 - 1e-12))
    return plain(hp, drawn)


def to_drawn(hp: HyperParameter, value: Any) -> Any:
    """Returns the number that Optuna would have to draw for a hyperparameter's value."""
    return hp.value_to_prob(value) if _by_probability(hp) else value


def _by_probability(hp: HyperParameter) -> bool:
    return getattr(hp, "sampling", None) == "reverse_log" and hp.step is None


def in_words(hp: HyperParameter) -> str:
    """Describes the values of a hyperparameter.

    Example:
        >>> in_words(kt.engine.hyperparameters.Float("rate", 0.1, 0.5, step=0.1))
        'from 0.1 to 0.5, in steps of 0.1'
    """
    if is_fixed(hp):
        return repr(hp.value)
    if not hasattr(hp, "min_value"):
        return f"one of {', '.join(map(repr, hp.values))}"
    step = "" if hp.step is None else f", in steps of {hp.step:g}"
    times = " times" if step and hp.sampling != "linear" else ""
    # With steps, Keras Tuner can end below `max_value`.
    most = hp.max_value if hp.step is None else max(hp.values)
    whole = "a whole number " * isinstance(hp, kt.engine.hyperparameters.Int)
    return f"{whole}from {hp.min_value:g} to {most:g}{step}{times}"


def check_names(space: Sequence[HyperParameter]) -> None:
    """Refuses two hyperparameters of one name, under different conditions.

    Keras Tuner keeps one value for a name. If one of the hyperparameters is active and another is not,
    `HyperParameters.ensure_active_values` deletes the value, or draws another one.

    Raises:
        InvalidArgumentError: Two of them have one name.
    """
    for name, number in Counter(hp.name for hp in space).items():
        if number > 1:
            raise invalid_argument(
                "name",
                expected="hyperparameters with different names",
                received=name,
                fix=f"`{name}` is registered under several conditions, and Keras Tuner keeps one value for a "
                "name. `dropout_rnn` begins the names that it registers with its `name`.",
            )
