"""Reads a classification task off the training data: how many classes, how many features."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import InvalidArgumentError, invalid_argument

_REMEDY = "Pass a hypermodel or a build function for any other task."
_FORMS = "(x, y) arrays, a batched tf.data.Dataset or a keras.utils.PyDataset"


@dataclass(frozen=True)
class Task:
    """What the training data say about the model.

    Attributes:
        features: Features of one time step.
        num_classes: Number of classes.
        one_hot: Whether the targets are one-hot.
    """

    features: int
    num_classes: int
    one_hot: bool


def infer_task(train: Any, num_classes: int | None = None) -> Task:
    """Reads the task off the training data; a dataset is read through once.

    Args:
        train: `(x, y)`, a batched `tf.data.Dataset`, or a `keras.utils.PyDataset`.
        num_classes: The number of classes, where the training data may lack some.

    Raises:
        InvalidArgumentError: The data are not those of a classification of sequences.
    """
    features: int | None = None
    widths: set[int | None] = set()
    labels: set[int] = set()
    arrays = isinstance(train, list | tuple)
    for x, y in _batches(train):
        features = _features(x, arrays) if features is None else features
        width, found = _read_targets(np.asarray(y))
        widths.add(width)
        labels |= found
    if features is None or len(widths) != 1:
        raise _unusable(
            "batches with targets of one form" if widths else "at least one batch", train
        )
    width = widths.pop()
    if width is not None:
        if num_classes not in (None, width):
            raise _bad_targets(f"{num_classes} columns, not {width}", "Leave out `num_classes`.")
        return Task(features, width, True)
    return Task(features, _count(labels, num_classes), False)


def check_validation_task(task: Task, validation: Any) -> None:
    """Raises for validation data of another task than the training data's.

    Arrays are looked at whole, of a `PyDataset` the first batch, of a `tf.data.Dataset` the shapes.

    Args:
        task: What the training data say.
        validation: Validation data in any of the forms of training data.

    Raises:
        InvalidArgumentError: They have other features or other classes.
    """
    x, y = _looked_at(validation)
    features = getattr(x, "shape", (None,))[-1]
    if features is not None and features != task.features:
        raise invalid_argument(
            "validation",
            expected=f"{task.features} features, as in the training data",
            received=f"shape {tuple(x.shape)}",
        )
    if y is not None:
        _check_classes(task, np.asarray(y))


def _looked_at(validation: Any) -> tuple[Any, Any]:
    """Returns `x` and `y` or what is known of them for nothing; `None` for what is not known."""
    if isinstance(validation, keras.utils.PyDataset):
        validation = validation[0]
    spec = getattr(validation, "element_spec", None)
    if isinstance(spec, tuple) and getattr(getattr(spec[0], "shape", None), "rank", None):
        return spec[0], None
    return _pair(validation) if isinstance(validation, list | tuple) else (None, None)


def _check_classes(task: Task, y: Any) -> None:
    width, labels = _read_targets(y)
    if (width is not None) != task.one_hot or width not in (None, task.num_classes):
        form = f"one-hot rows of {task.num_classes}" if task.one_hot else "integer labels"
        expected, received = f"{form}, as in the training data", f"targets of shape {y.shape}"
        raise invalid_argument("validation", expected=expected, received=received)
    outside = sorted(label for label in labels if label >= task.num_classes)
    if outside:
        raise invalid_argument(
            "validation",
            expected=f"labels 0 ... {task.num_classes - 1}, as in the training data",
            received=f"labels {outside[:10]}",
            fix="Split so that each class is in the training data, or pass "
            "SequenceClassifier(num_classes, input_shape) as the hypermodel.",
        )


def _batches(train: Any) -> Iterator[tuple[Any, Any]]:
    """Yields `(x, y)` of every batch; arrays are one batch."""
    if isinstance(train, list | tuple):
        yield _pair(train)
        return
    tensorflow = sys.modules.get("tensorflow")
    if isinstance(train, keras.utils.PyDataset):
        if train.num_batches is None:
            raise _endless(train)
        yield from (_pair(train[index]) for index in range(train.num_batches))
    elif tensorflow is not None and isinstance(train, tensorflow.data.Dataset):
        if int(train.cardinality()) == tensorflow.data.INFINITE_CARDINALITY:
            raise _endless(train)
        yield from (_pair(batch) for batch in train)
    else:
        raise _unusable(_FORMS, train)


def _pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, list | tuple) or len(batch) not in (2, 3):
        raise _unusable(f"{_FORMS}, of (x, y) or (x, y, sample_weight)", batch)
    return batch[0], batch[1]


def _features(x: Any, arrays: bool) -> int:
    shape = tuple(x.shape) if hasattr(x, "shape") else None
    if shape is None or len(shape) != 3 or shape[-1] is None:
        raise invalid_argument(
            "x",
            expected="one array of shape (batch, time, features)",
            received=type(x).__name__ if shape is None else f"shape {shape}",
            fix=_shape_remedy(x, arrays),
        )
    return int(shape[-1])


def _shape_remedy(x: Any, arrays: bool) -> str:
    if isinstance(x, list | tuple):
        return "Make an array of it with `np.asarray(x)`."
    if len(getattr(x, "shape", ())) != 2:
        return _REMEDY
    axis = "Add the missing axis with `x[..., None]`"
    return f"{axis}." if arrays else f"{axis}, or batch the dataset with `.batch(32)`."


def _read_targets(y: Any) -> tuple[int | None, set[int]]:
    """Returns the width of one-hot targets, or `None` and the integer labels there are."""
    if y.dtype.kind not in "biuf":
        raise _bad_targets(
            f"numbers, not {y.dtype}",
            "Number the classes with `np.unique(y, return_inverse=True)[1]`.",
        )
    if y.ndim == 2 and y.shape[1] > 1:
        if y.min(initial=0) < 0 or not np.allclose(y.sum(axis=1, dtype="float64"), 1, atol=1e-3):
            raise _bad_targets(f"rows that sum to 1 in one-hot targets of shape {y.shape}", _REMEDY)
        return int(y.shape[1]), set()
    if y.ndim not in (1, 2):
        raise _bad_targets(f"one class for each sequence, not shape {y.shape}", _REMEDY)
    labels = np.unique(y)
    if not np.all(np.isfinite(labels)) or np.any(labels != np.floor(labels)):
        raise _bad_targets("whole numbers or one-hot rows, not fractions", _REMEDY)
    if np.any(labels < 0):
        raise _bad_targets(f"no label below 0, not {int(labels[0])}", _REMEDY)
    return None, {int(label) for label in labels}


def _count(labels: set[int], num_classes: int | None) -> int:
    """Counts the classes, and refuses labels with holes: a hole is mostly a mistake."""
    found = max(labels, default=-1) + 1
    if num_classes is not None and num_classes >= found:
        return num_classes
    if num_classes is not None or len(labels) != found or found < 2:
        shown = sorted(labels)[:10]
        raise _bad_targets(
            f"labels 0 ... {num_classes - 1 if num_classes else 'K-1'}, each of at least 2 classes "
            f"there, not {shown}{' ...' if len(labels) > len(shown) else ''}",
            "Number the classes with `np.unique(y, return_inverse=True)[1]`, or pass `num_classes`.",
        )
    return found


def _bad_targets(expected: str, fix: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        "Invalid value received for argument `y`. Expected integer labels 0 ... K-1 or one-hot rows: "
        f"{expected}. {fix}"
    )


def _unusable(expected: str, received: Any) -> InvalidArgumentError:
    # Only the type: the data themselves would fill the screen.
    return invalid_argument("train", expected=expected, received=type(received), fix=_REMEDY)


def _endless(train: Any) -> InvalidArgumentError:
    return invalid_argument(
        "train",
        expected="a dataset that ends, for the labels are counted",
        received=type(train),
        fix="Pass SequenceClassifier(num_classes, input_shape) as the hypermodel, or use `.take(n)`.",
    )
