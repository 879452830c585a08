"""The outcome of a training: the results of a user-defined `fit` or `run_trial`, or how it failed."""

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
from keras_tuner.engine.trial import TrialStatus

from recdrop_tune.errors import RecdropError
from recdrop_tune.oracle import NOT_A_NUMBER, OUT_OF_MEMORY

FIT, RUN_TRIAL = "HyperModel.fit()", "Tuner.run_trial()"
"""The methods that return results, as named in error messages."""

Outcome = tuple[dict[str, float], int]
"""Metrics by name, and their epoch, or 0 if it is not known."""

_NO_OBJECTIVE = "default_objective"
"""Keras Tuner's name for the objective of an oracle without one."""

_warned: set[str] = set()

# By name, so that no backend is imported: the classes of Python, TensorFlow and torch. JAX has one class
# for all errors, which differ only in their text.
_MEMORY_ERRORS = {"MemoryError", "ResourceExhaustedError", "OutOfMemoryError"}
_MEMORY_WORDS = ("RESOURCE_EXHAUSTED", "out of memory")


def numbers(metrics: Mapping[Any, Any]) -> dict[str, float]:
    """Returns the metrics that are numbers, and warns once about each other one.

    An array or a tensor of one element counts as a number.
    """
    found = {str(name): _number(value) for name, value in metrics.items()}
    for name, value in metrics.items():
        if found[str(name)] is None and str(name) not in _warned:
            _warned.add(str(name))
            warnings.warn(
                f"The metric `{name}` is left out: it is not a number but a `{type(value).__name__}`. Log "
                'one number per epoch, as keras.metrics.F1Score("macro") does.',
                stacklevel=2,
            )
    return {name: value for name, value in found.items() if value is not None}


def explicit_outcome(results: Any, objective: Any, where: str) -> Outcome:
    """Turns results into metrics by name, and finds their epoch.

    The results are a number (the objective), metrics by name, Keras's history (its best epoch counts), or a
    list of these (their mean counts). Others, and those without the objective, raise Keras Tuner's fatal
    errors, which end the search. `where` is the method that returned them: `FIT` or `RUN_TRIAL`.
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
    if isinstance(results, keras.callbacks.History) and objective.name == _NO_OBJECTIVE:
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


def are_same(results: Any, known: list[Any]) -> bool:
    """Returns whether results are the known objects, or the only one of them."""
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
        raise RecdropError(
            f"No epoch of this trial reported `{objective.name}`, which is the objective. Reported were: "
            f"{', '.join(map(str, history)) or 'none'}. Train until it is reported, or use one of these as "
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
    if isinstance(value, str | bytes):
        return None
    try:
        return float(np.asarray(value).item())
    except (TypeError, ValueError, OverflowError):
        return None


class TrialPrunedError(Exception):
    """The oracle has stopped a trial. Raised between trainings, never inside `fit`."""


class NoFiniteObjectiveError(RecdropError):
    """The objective was NaN or infinite in every epoch of a trial."""

    def __init__(self, objective: str) -> None:
        super().__init__(
            f"{NOT_A_NUMBER}: `{objective}` was NaN or infinite in every epoch; try a smaller "
            "learning rate, or clip gradients (`global_clipnorm`: 1 in the optimizer, or in the search space "
            "of a hypermodel of this package). NaN or infinity in the data have the same effect."
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an exception means that memory ran out, on any backend."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _MEMORY_ERRORS:
        return True
    return "RuntimeError" in names and any(word in str(error) for word in _MEMORY_WORDS)


def outcome(error: Exception) -> tuple[str, str]:
    """Returns the final status and message of a trial whose training raised an error.

    The status is `STOPPED` for a pruned trial, `FAILED` if a retry would fail too, else `INVALID`: Keras
    Tuner retries it if `max_retries_per_trial` allows that.
    """
    if isinstance(error, TrialPrunedError):
        return TrialStatus.STOPPED, ""
    if isinstance(error, NoFiniteObjectiveError):
        return TrialStatus.INVALID, str(error)
    text = traceback.format_exc()
    if is_out_of_memory(error):
        what = f"{OUT_OF_MEMORY}: the model and a batch do not fit."
        return TrialStatus.FAILED, f"{what}\n{text}"
    return (
        TrialStatus.FAILED if isinstance(error, kt.errors.FailedTrialError) else TrialStatus.INVALID
    ), text
