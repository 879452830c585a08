"""Brings data of a task into the form that its model takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import invalid_argument
from recdrop_tune.hypermodels import has_steps
from recdrop_tune.search.settings import Task

Array = Any
"""A NumPy array."""

# Sequences of unequal lengths.


def is_ragged(data: Any) -> bool:
    """Says whether x is a list with an array for each sequence, in the place of one array."""
    x: Any = data[0] if isinstance(data, list | tuple) and data else None
    listed = isinstance(x, list) or (_is_object_array(x) and x.ndim == 1)
    return listed and len(x) > 0 and all(isinstance(s, np.ndarray) and s.ndim in (1, 2) for s in x)


def _is_object_array(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype == np.dtype(object)


def prepared(made: Mapping[str, Any], task: Task) -> tuple[dict[str, Any], Task]:
    """Returns the data of a task as its model takes them, and the task with the value of its padding.

    Sequences of unequal lengths are padded at their end. Numbers for each step get an axis for the values
    of a step, without which Keras would apply no mask.

    Args:
        made: The data, by what they are for.
        task: The task.

    Raises:
        InvalidArgumentError: The lists do not fit together.
    """
    ragged = {name: data for name, data in made.items() if is_ragged(data)}
    tokens = task.name == "language_model"
    if ragged:
        sequences = [each for name, data in ragged.items() for each in _sequences(name, data[0])]
        _check_features(sequences)
        unequal = len({len(each) for each in sequences}) > 1
        value = 0.0 if tokens else task.mask_value
        value = _free_value([*sequences, *_dense(made)]) if value is None else value
        made = {name: _padded(name, data, value, tokens) for name, data in made.items()}
        task = replace(task, mask_value=value) if unequal else task
        task = _of_steps(made, ragged, task)
    if task.name == "regression":
        made = {name: _with_values(data) for name, data in made.items()}
    if any(map(_takes_columns, task.metrics)):
        made = {name: _as_columns(data) for name, data in made.items()}
    return dict(made), task


def _takes_columns(metric: Any) -> bool:
    """Says whether a metric takes labels of shape `(batch, 1)` alone, as Keras's F1 does."""
    named = isinstance(metric, str) and metric.replace("_", "").lower() in ("f1score", "fbetascore")
    return named or isinstance(metric, keras.metrics.FBetaScore)


def _as_columns(data: Any) -> Any:
    if not isinstance(data, list | tuple) or len(data) < 2 or np.ndim(data[1]) != 1:
        return data
    return (data[0], np.asarray(data[1])[:, None], *data[2:])


def _argument(name: str) -> str:
    return {"training": "train"}.get(name, name)


def _sequences(name: str, arrays: Any) -> list[Array]:
    """Returns sequences of shape `(time, features)`."""
    for number, array in enumerate(arrays):
        if array.dtype.kind not in "biuf" or not array.size:
            raise invalid_argument(
                _argument(name),
                expected="sequences of numbers, each of at least one step",
                received=f"x[{number}] of shape {array.shape} and type {array.dtype}",
            )
    return [array[:, None] if array.ndim == 1 else array for array in arrays]


def _check_features(sequences: list[Array]) -> None:
    found = sorted({each.shape[1] for each in sequences})
    if len(found) > 1:
        raise invalid_argument(
            "train",
            expected="sequences of shape (time, features), in the validation data too, all with as many "
            "features",
            received=f"some with {' and some with '.join(map(str, found))}",
        )


def _dense(made: Mapping[str, Any]) -> list[Array]:
    """Lists arrays of sequences beside the lists, which are masked by the same value."""
    parts = [data[0] for data in made.values() if isinstance(data, list | tuple) and data]
    return [each for each in parts if isinstance(each, np.ndarray) and each.ndim == 3 and each.size]


def _free_value(sequences: list[Array]) -> float:
    """Chooses a value that fills no step of any sequence, also in single precision."""
    for value in (0.0, -1.0):
        if not any((each == value).all(axis=-1).any() for each in sequences):
            return value
    least = np.float32(min(np.nanmin(each) for each in sequences))
    return float(np.floor(np.nextafter(least, np.float32(-np.inf))))


def _padded(name: str, data: Any, value: float, tokens: bool) -> Any:
    if not is_ragged(data):
        return data
    x, *others = data
    lengths = [len(each) for each in x]
    if any(len(part) != len(x) for part in others if hasattr(part, "__len__")):
        raise invalid_argument(
            _argument(name),
            expected="as many targets (and weights) as sequences",
            received=", ".join(str(len(part)) for part in data),
        )
    sequences = list(x) if tokens else _sequences(name, x)
    return (_pad(sequences, value), *(_targets(name, part, lengths) for part in others))


def _targets(name: str, part: Any, lengths: list[int]) -> Any:
    """Returns targets or weights as an array; those of steps are padded, which the mask leaves out.

    Labels are padded with one that there is, and not with another class; numbers with 0.
    """
    if not isinstance(part, list) and not _is_object_array(part):
        return part
    arrays = [np.asarray(each) for each in part]
    odd = next((each for each in arrays if each.dtype.kind not in "biuf"), None)
    if odd is not None:
        received = f"some of type {odd.dtype}"
        expected = "targets (and weights) that are numbers"
        raise invalid_argument(_argument(name), expected=expected, received=received)
    of_steps = [each.shape[:1] for each in arrays] == [(length,) for length in lengths]
    if of_steps and len({each.shape[1:] for each in arrays}) == 1:
        labels = all(each.dtype.kind in "biu" for each in arrays)
        return _pad(arrays, min(int(each.min()) for each in arrays) if labels else 0)
    if len({each.shape for each in arrays}) == 1:
        return np.stack(arrays)
    shapes = zip(arrays, lengths, strict=True)
    wrong = [number for number, (each, n) in enumerate(shapes) if each.shape[:1] != (n,)] or [0]
    raise invalid_argument(
        _argument(name),
        expected="as many targets (and weights) for each sequence as it has steps, or one",
        received=f"shape {arrays[wrong[0]].shape} for x[{wrong[0]}] of {lengths[wrong[0]]} steps",
    )


def _pad(arrays: list[Array], value: float) -> Array:
    kind = np.result_type(*{array.dtype for array in arrays})
    # Of unsigned and of logical ones no value may be left, and models compute with float32 anyhow.
    fits = kind.kind == "f" or np.array(value).astype(kind) == value
    kept = kind.name if fits else "float32"
    return keras.utils.pad_sequences(arrays, dtype=kept, padding="post", value=value)


def _of_steps(made: Mapping[str, Any], ragged: Mapping[str, Any], task: Task) -> Task:
    """Makes the task of numbers that came in a list for each sequence, one a step, a regression of steps."""
    given: Any = ragged.get("training")
    if given is None or len(given) < 2 or task.name not in (None, "forecast"):
        return task
    if not isinstance(given[1], list) and not _is_object_array(given[1]):
        return task
    y = made["training"][1]
    lengths = {len(each) for each in given[0]}
    if y.dtype.kind != "f" or len(lengths) < 2 or y.shape[1:2] != (max(lengths),):
        return task
    if task.name == "forecast":
        raise invalid_argument(
            "model",
            expected="'regression', for targets that are one for each step of sequences of unequal lengths",
            received=task.name,
        )
    return replace(task, name="regression")


def _with_values(data: Any) -> Any:
    if not isinstance(data, list | tuple) or len(data) < 2:
        return data
    x, y, *weight = data
    if np.ndim(y) == 2 and has_steps(x, y) and hasattr(y, "shape"):
        y = np.asarray(y)[..., None]
    return (x, y, *weight)
