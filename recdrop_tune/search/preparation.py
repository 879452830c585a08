"""Brings data of a task into the form that its model takes, and says what looks odd about them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import InvalidArgumentError, invalid_argument, warn_caller
from recdrop_tune.hypermodels import (
    AbstractHyperModel,
    AbstractSequenceModel,
    LanguageModel,
    SequenceRegressor,
    batches,
    check_ends,
    has_steps,
    is_one_hot,
    task_in_words,
)
from recdrop_tune.search.settings import Task, Training
from recdrop_tune.tuner import GroupedFolds, check_folds

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


# What of the settings of a training depends on the data.


def of_data(training: Training, train: Any, hypermodel: Any) -> Training:
    """Returns settings in which the weights of classes are numbers, and folds know of their groups.

    Args:
        training: The settings.
        train: The training data.
        hypermodel: The hypermodel.

    Raises:
        InvalidArgumentError: There are no classes to be weighted, or groups that no fold keeps together, or
            more folds than samples.
    """
    if isinstance(train, list | tuple):
        check_folds(training.cv, train[0])
    if training.class_weight is not None:
        weights = _class_weights(training, train, hypermodel)
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
    grouped = GroupedFolds(training.cv, np.asarray(training.groups))
    if isinstance(train, list | tuple):
        _check_groups(grouped, keras.tree.flatten(train[1])[0])
    return replace(training, cv=grouped, groups=None)


def _check_groups(grouped: GroupedFolds, y: Any) -> None:
    """Raises where groups do not fit the samples, or folds do not keep them together."""
    groups = grouped.groups
    if groups.ndim != 1 or len(groups) != len(y):
        raise invalid_argument(
            "groups",
            expected=f"a group for each of {len(y)} samples",
            received=f"groups of shape {groups.shape}",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # What is warned of is found below.
            parts = list(grouped.split(np.zeros((len(y), 1)), np.asarray(y)))
        apart = [not set(groups[train]) & set(groups[test]) for train, test in parts]
    except (TypeError, ValueError) as error:
        raise invalid_argument(
            "groups", expected="groups that the folds can be made of", received=str(error)
        ) from error
    if not all(apart):
        raise invalid_argument(
            "cv",
            expected="a number of folds, or a splitter that takes groups, beside `groups`",
            received=grouped.cv,
            fix="Such as sklearn.model_selection.GroupKFold(5): this one has a group on both sides.",
        )


def _class_weights(training: Training, train: Any, hypermodel: Any) -> dict[int, float]:
    given: Any = training.class_weight
    if "class_weight" in training.fit:
        raise invalid_argument("class_weight", expected="it once", received="it in `fit` too")
    if isinstance(train, list | tuple) and len(train) > 2 and train[2] is not None:
        raise invalid_argument(
            "class_weight",
            expected="None beside weights of the samples, for Keras takes one of the two",
            received=given,
            fix="Multiply them: (x, y, sample_weight * weights[y]).",
        )
    check_ends(train, "the classes are counted", "Pass weights by label")
    of_steps = getattr(hypermodel, "return_sequences", False)
    if of_steps or isinstance(hypermodel, SequenceRegressor | LanguageModel):
        raise _no_labels(type(hypermodel).__name__)
    counts: Counter[int] = Counter()
    for _, y in batches(train):
        counts.update(_labels(y).tolist())
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


def _labels(y: Any) -> Array:
    """Returns the label of each sequence."""
    if keras.tree.is_nested(y):
        raise invalid_argument(
            "class_weight",
            expected="None with several outputs, for which Keras has no weights of classes",
            received=f"targets in a {type(y).__name__}",
            fix="Give weights of the samples with the data, for each output: "
            "(x, y, {'output': weights[y['output']]}).",
        )
    y = np.asarray(y)
    if y.dtype.kind not in "biuf" or not np.isfinite(y).all():
        raise _no_labels(f"targets of type {y.dtype}")
    if y.ndim == 2 and y.shape[1] > 1 and is_one_hot(y):
        return y.argmax(axis=1)
    if y.ndim > 2 or y.shape[1:] not in ((), (1,)) or np.any(y != np.floor(y)):
        raise _no_labels(f"targets of shape {y.shape}")
    return y.reshape(-1).astype("int64")


def _no_labels(received: str) -> InvalidArgumentError:
    return invalid_argument(
        "class_weight",
        expected="None where sequences have no label, or their steps have one each",
        received=received,
        fix="Give weights for each step with the data: (x, y, weights[y]).",
    )


# What looks odd.


def task_lines(model: Any, train: Any, chosen: str | None) -> list[str]:
    """Tells which task was chosen for the data, how they are padded, or that they look so.

    Args:
        model: The hypermodel that was made for them.
        train: The training data.
        chosen: The task that the caller has named; `None` if they have not.
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
    padded, named = ends < x.shape[1], "" if chosen is None else f"{chosen!r}, "
    # Zeros at both ends may be data, and so may a step here and there.
    if padded.mean() < _MANY or (begins < x.shape[1]).any() or x.dtype.kind != "f":
        return lines
    return [
        *lines,
        f"Padding? {int(padded.sum()):,} of {len(x):,} sequences end in steps of zeros. If that is padding, "
        f"have these steps skipped: model=rdt.Task({named}mask_value=0.0).",
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
