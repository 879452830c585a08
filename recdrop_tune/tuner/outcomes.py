"""What comes of a training: what a `fit` or `run_trial` of the user's own returns, or how it failed."""

from __future__ import annotations

import operator
import traceback
import warnings
from collections.abc import Mapping
from numbers import Real
from typing import Any

import keras
import keras_tuner as kt
import numpy as np

from recdrop_tune.errors import RecdropError
from recdrop_tune.oracle import NOT_A_NUMBER, OUT_OF_MEMORY

FIT, RUN_TRIAL = "HyperModel.fit()", "Tuner.run_trial()"
"""What returns results, as error messages name it."""

Outcome = tuple[dict[str, float], int]
"""Metrics by name, and the epoch that they are from: 0 where that is not known."""

_NOT_SAID = "default_objective"
"""Keras Tuner's name for the objective of an oracle that was given none."""

_said: set[str] = set()

# By name, so that no backend is imported for the asking: TensorFlow's, torch's, and jax's, which has
# one class for everything and says in its text which it was.
_MEMORY_ERRORS = {"MemoryError", "ResourceExhaustedError", "OutOfMemoryError"}
_MEMORY_WORDS = ("RESOURCE_EXHAUSTED", "out of memory")


class ObjectiveMissingError(RecdropError):
    """Keras's history of a training has no epoch with the objective. Other trials may have one."""


def numbers(metrics: Mapping[Any, Any]) -> dict[str, float]:
    """Returns the metrics that are numbers, and says once of each other one that it is left out.

    Args:
        metrics: By name, as Keras hands them to callbacks. An array or a tensor of one element counts as
            its number; other arrays, text and `None` are left out.

    Example:
        >>> numbers({"loss": np.array([0.5])})
        {'loss': 0.5}
    """
    found = {str(name): _number(value) for name, value in metrics.items()}
    for name, value in metrics.items():
        if found[str(name)] is None and str(name) not in _said:
            _said.add(str(name))
            warnings.warn(
                f"The metric `{name}` is left out: it is no number but a `{type(value).__name__}`. To have "
                "it recorded, let the callback that logs it log one number an epoch.",
                stacklevel=2,
            )
    return {name: value for name, value in found.items() if value is not None}


def explicit_outcome(results: Any, objective: Any, where: str) -> Outcome:
    """Turns results into metrics by name, and finds the epoch that they are from.

    Args:
        results: A number (the objective), metrics by name, Keras's history (of which the best epoch
            counts), or a list of these, whose mean counts.
        objective: The `keras_tuner.Objective`.
        where: What returned them: `FIT` or `RUN_TRIAL`.

    Raises:
        keras_tuner.errors.FatalTypeError: The results are something else; the search ends.
        keras_tuner.errors.FatalValueError: The objective is not among them; the search ends.
        ObjectiveMissingError: No epoch of a history has the objective.
    """
    accepted = "Keras's history, a number, metrics by name, or a list of these"
    if results is None:
        raise kt.errors.FatalTypeError(
            f"The return value of {where} is None. Did you forget to return the metrics? Return {accepted}."
        )
    if isinstance(results, list) and results:
        parts = [explicit_outcome(part, objective, where) for part in results]
        names = dict.fromkeys(name for metrics, _ in parts for name in metrics)
        means = {
            name: float(np.mean([metrics[name] for metrics, _ in parts if name in metrics]))
            for name in names
        }
        return means, int(np.mean([epoch for _, epoch in parts]))
    if isinstance(results, Real) and not isinstance(results, bool):
        return {objective.name: float(results)}, 0
    if isinstance(results, keras.callbacks.History) and objective.name == _NOT_SAID:
        raise kt.errors.FatalTypeError(
            f"Expected the return value of {where} to be a single float when `objective` is left "
            f"unspecified. Received: {results!r}. Give the oracle an `objective`, or return a number."
        )
    if isinstance(results, keras.callbacks.History):
        return _best_epoch(results.history, objective)
    if not isinstance(results, Mapping):
        raise kt.errors.FatalTypeError(
            f"Expected {where} to return {accepted}. Received: {results!r}"
        )
    metrics = numbers(results)
    if not objective.has_value(metrics) and objective.name not in metrics:
        raise kt.errors.FatalValueError(
            f"Expected a number for `{objective.name}` among the metrics that {where} returned. "
            f"Received: {', '.join(map(str, results)) or 'none'}"
        )
    return {objective.name: float(objective.get_value(metrics)), **metrics}, 0


def are_those(results: Any, known: list[Any]) -> bool:
    """Says whether results are those known (not merely equal ones), or the only one of them."""
    several = results if isinstance(results, list) else [results]
    return len(several) == len(known) and all(map(operator.is_, several, known))


def _best_epoch(history: Mapping[str, Any], objective: Any) -> Outcome:
    length = min((len(values) for values in history.values()), default=0)
    epochs = [
        numbers({name: values[epoch] for name, values in history.items()})
        for epoch in range(length)
    ]
    measured = [epoch for epoch, metrics in enumerate(epochs) if objective.has_value(metrics)]
    if not measured:
        raise ObjectiveMissingError(
            f"No epoch of this trial reported `{objective.name}`, which is the objective. Reported were: "
            f"{', '.join(map(str, history)) or 'none'}. Train until it is reported, or take one of them as "
            "`objective`."
        )
    best = measured[-1]
    finite = [epoch for epoch in measured if np.isfinite(objective.get_value(epochs[epoch]))]
    for epoch in finite:
        value = objective.get_value(epochs[epoch])
        if epoch == finite[0] or objective.better_than(value, objective.get_value(epochs[best])):
            best = epoch
    return {objective.name: float(objective.get_value(epochs[best])), **epochs[best]}, best


def _number(value: Any) -> float | None:
    if isinstance(value, str | bytes):  # "0.5" is text all the same.
        return None
    try:
        return float(np.asarray(value).item())
    except (TypeError, ValueError, OverflowError):
        return None


class TrialPrunedError(Exception):
    """The oracle has no use for the rest of a trial. Raised between trainings, never inside `fit`."""


class NoFiniteObjectiveError(RecdropError):
    """The objective was NaN or infinite in every epoch of a trial."""

    def __init__(self, objective: str) -> None:
        super().__init__(
            f"{NOT_A_NUMBER}: `{objective}` was NaN or infinite in every epoch; try a smaller "
            "learning rate, or clip gradients (`global_clipnorm`: 1 in the optimizer, or in the search space "
            "of a hypermodel of this package). NaN or infinity in the data do the same."
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Says whether an exception tells of memory that ran out, on whatever backend."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _MEMORY_ERRORS:
        return True
    return "RuntimeError" in names and any(word in str(error) for word in _MEMORY_WORDS)


def outcome(error: Exception) -> tuple[str, str]:
    """Returns the status with which Keras Tuner ends the trial, and the message that it keeps.

    Args:
        error: What training raised.

    Returns:
        `STOPPED` for a pruned trial, `FAILED` where another try would end the same way, else
        `INVALID`: Keras Tuner tries again if it has been told to.
    """
    if isinstance(error, TrialPrunedError):
        return "STOPPED", ""
    if isinstance(error, NoFiniteObjectiveError):
        return "INVALID", str(error)
    text = traceback.format_exc()
    if is_out_of_memory(error):
        what = f"{OUT_OF_MEMORY}: the model of this trial does not fit beside its batch."
        return "FAILED", f"{what}\n{text}"
    return ("FAILED" if isinstance(error, kt.errors.FailedTrialError) else "INVALID"), text
