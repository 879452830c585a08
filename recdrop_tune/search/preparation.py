"""Brings data of a task into the form that its model takes, and says what looks odd about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import invalid_argument, warn_caller
from recdrop_tune.hypermodels import (
    AbstractHyperModel,
    AbstractSequenceModel,
    SequenceRegressor,
    batches,
    check_ends,
    has_steps,
    is_one_hot,
    task_in_words,
)
from recdrop_tune.search.settings import Task, Training
from recdrop_tune.tuner import GroupedFolds

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
    if ragged:
        sequences = [_sequence(each) for data in ragged.values() for each in data[0]]
        if len({each.shape[1] for each in sequences}) > 1:
            raise invalid_argument(
                "train",
                expected="sequences of shape (time, features), all with as many features",
                received=f"some with {' and some with '.join(_features(sequences))}",
            )
        unequal = len({len(each) for each in sequences}) > 1
        value = _free_value(sequences) if task.mask_value is None else task.mask_value
        made = {**made, **{name: _padded(name, data, value) for name, data in ragged.items()}}
        task = replace(task, mask_value=value) if unequal else task
    if task.name == "regression":
        made = {name: _with_values(data) for name, data in made.items()}
    return dict(made), task


def _sequence(array: Array) -> Array:
    """Returns one sequence of shape `(time, features)`."""
    if array.dtype.kind not in "biuf":
        expected = "sequences of numbers"
        raise invalid_argument("train", expected=expected, received=f"one of {array.dtype}")
    return array[:, None] if array.ndim == 1 else array


def _features(sequences: list[Array]) -> Iterator[str]:
    yield from sorted({str(each.shape[1]) for each in sequences})


def _free_value(sequences: list[Array]) -> float:
    """Chooses a value that fills no step of any sequence."""
    for value in (0.0, -1.0):
        if not any((each == value).all(axis=1).any() for each in sequences):
            return value
    return float(np.floor(min(each.min(initial=0) for each in sequences))) - 1


def _padded(name: str, data: Any, value: float) -> tuple[Any, ...]:
    x, *others = data
    lengths = [len(each) for each in x]
    if any(len(part) != len(x) for part in others if hasattr(part, "__len__")):
        raise invalid_argument(
            {"training": "train"}.get(name, name),
            expected="as many targets (and weights) as sequences",
            received=", ".join(str(len(part)) for part in data),
        )
    return (_pad([_sequence(each) for each in x], value), *(_targets(p, lengths) for p in others))


def _targets(part: Any, lengths: list[int]) -> Any:
    """Returns targets or weights as an array; those of steps are padded with 0, which the mask leaves out."""
    if not isinstance(part, list) and not _is_object_array(part):
        return part
    try:
        arrays = [np.asarray(each) for each in part]
        of_steps = [each.shape[:1] for each in arrays] == [(length,) for length in lengths]
        return _pad(arrays, 0) if of_steps else np.stack(arrays)
    except ValueError:
        expected = "as many targets (and weights) for each sequence as it has steps, or one"
        raise invalid_argument("train", expected=expected, received=type(part)) from None


def _pad(arrays: list[Array], value: float) -> Array:
    kind = np.result_type(*{array.dtype for array in arrays})
    return keras.utils.pad_sequences(arrays, dtype=kind.name, padding="post", value=value)


def _with_values(data: Any) -> Any:
    if not isinstance(data, list | tuple) or len(data) < 2:
        return data
    x, y, *weight = data
    if np.ndim(y) == 2 and has_steps(x, y) and hasattr(y, "shape"):
        y = y[..., None]
    return (x, y, *weight)


# What of the settings of a training depends on the data.


def of_data(training: Training, train: Any) -> Training:
    """Returns settings in which the weights of classes are numbers, and folds know of their groups.

    Args:
        training: The settings.
        train: The training data.

    Raises:
        InvalidArgumentError: There are no classes to be weighted, or groups without folds.
    """
    if training.class_weight is not None:
        if "class_weight" in training.fit:
            raise invalid_argument("class_weight", expected="it once", received="it in `fit` too")
        weights = _class_weights(training.class_weight, train)
        training = replace(
            training, class_weight=None, fit={**training.fit, "class_weight": weights}
        )
    if training.groups is None:
        return training
    if training.cv is None:
        raise invalid_argument(
            "groups",
            expected="None without `cv`, whose folds they keep apart",
            received=type(training.groups),
            fix="Pass both: rdt.Training(cv=5, groups=...).",
        )
    samples = len(train[1]) if isinstance(train, list | tuple) else None
    if samples not in (None, len(training.groups)):
        raise invalid_argument(
            "groups",
            expected=f"a group for each of {samples} samples",
            received=f"{len(training.groups)} of them",
        )
    groups = np.asarray(training.groups)
    return replace(training, cv=GroupedFolds(training.cv, groups), groups=None)


def _class_weights(given: Any, train: Any) -> dict[int, float]:
    check_ends(train, "the classes are counted", "Pass weights by label")
    counts: Counter[int] = Counter()
    for _, y in batches(train):
        counts.update(_labels(np.asarray(y)).tolist())
    if given == "balanced":
        total = sum(counts.values()) / len(counts)
        return {label: total / count for label, count in sorted(counts.items())}
    unknown = sorted(given.keys() - counts.keys())
    if unknown:
        raise invalid_argument(
            "class_weight",
            expected=f"labels of the training data: {', '.join(map(str, sorted(counts)[:10]))}",
            received=f"{', '.join(map(str, unknown))}",
        )
    return dict(given)


def _labels(y: Array) -> Array:
    """Returns the label of each sequence."""
    if y.ndim == 2 and y.shape[1] > 1 and is_one_hot(y):
        return y.argmax(axis=1)
    if y.ndim > 2 or y.shape[1:] not in ((), (1,)) or np.any(y != np.floor(y)):
        raise invalid_argument(
            "class_weight",
            expected="None where sequences have no label, or their steps have one each",
            received=f"targets of shape {y.shape}",
            fix="Give weights for each step with the data: (x, y, weights[y]).",
        )
    return y.reshape(-1).astype("int64")


# What looks odd.


def task_lines(model: Any, train: Any, chosen: bool) -> list[str]:
    """Tells which task was chosen for the data, how they are padded, or that they look so.

    Args:
        model: The hypermodel that was made for them.
        train: The training data.
        chosen: Whether the caller has named the task.
    """
    arrays = isinstance(train, list | tuple)
    x, y = train[:2] if arrays else (None, None)
    others = (
        "" if chosen else ", as the targets look; for another one name it, as in model='tagging'"
    )
    lines = [f"Task: {task_in_words(model, x, y)}{others}."]
    if not isinstance(model, AbstractSequenceModel) or not isinstance(x, np.ndarray) or x.ndim != 3:
        return lines
    if model.mask_value is not None:
        ends = _lengths(x, model.mask_value)
        padded = f"{int((ends < x.shape[1]).sum()):,} of {len(x):,} sequences are padded"
        return [*lines, f"Padding: {padded} with {model.mask_value:g}; these steps are skipped."]
    ends = _lengths(x, 0.0)
    begins = _lengths(x[:, ::-1], 0.0)
    padded = ends < x.shape[1]
    # Zeros at both ends may be data, and so may a step here and there.
    if padded.mean() < _MANY or (begins < x.shape[1]).any() or x.dtype.kind != "f":
        return lines
    return [
        *lines,
        f"Padding? {int(padded.sum()):,} of {len(x):,} sequences end in steps of zeros. If that is padding, "
        "have these steps skipped: model=rdt.Task(mask_value=0.0).",
    ]


_MANY = 0.1
"""The share of sequences that end in zeros from which on it looks like padding."""


def _lengths(x: Array, value: float) -> Array:
    """Counts the steps of each sequence without those at its end that are filled with a value."""
    filled = (x != value).any(axis=-1)
    last = x.shape[1] - filled[:, ::-1].argmax(axis=1)
    return np.where(filled.any(axis=1), last, 0)


def warn_of_scale(model: AbstractHyperModel, train: Any) -> None:
    """Warns where the targets of a regression are far from mean 0 and standard deviation 1."""
    x, y = train[:2] if isinstance(train, list | tuple) else (None, None)
    if not isinstance(model, SequenceRegressor) or not isinstance(y, np.ndarray):
        return
    if model.return_sequences and model.mask_value is not None:
        y = y[(np.asarray(x) != model.mask_value).any(axis=-1)]
    mean, spread = float(y.mean(dtype="float64")), float(y.std(dtype="float64"))
    if spread and (abs(mean) > _FAR * max(spread, 1) or not 1 / _FAR <= spread <= _FAR):
        warn_caller(
            f"The targets have mean {mean:.3g} and standard deviation {spread:.3g}, and models learn slowly "
            "what is far from mean 0 and standard deviation 1. Scale them, `y = (y - mean) / std` with both "
            "of the training data, and scale predictions back."
        )


_FAR = 10.0
