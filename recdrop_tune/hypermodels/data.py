"""What the data say: the shapes of their batches, their classes, and how labels are written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import InvalidArgumentError, invalid_argument

# Training and validation data in any of the usual forms, looked at batch by batch.

REMEDY = "Pass a hypermodel or a build function for any other task."
_FORMS = "(x, y) arrays, a batched tf.data.Dataset or a keras.utils.PyDataset"


def batches(train: Any) -> Iterator[tuple[Any, Any]]:
    """Yields `(x, y)` of every batch; arrays are one batch.

    Raises:
        InvalidArgumentError: The data have another form.
    """
    if isinstance(train, list | tuple):
        yield _pair(train)
        return
    tensorflow = sys.modules.get("tensorflow")
    if isinstance(train, keras.utils.PyDataset):
        yield from (_pair(train[index]) for index in range(train.num_batches or 1))
    elif tensorflow is not None and isinstance(train, tensorflow.data.Dataset):
        yield from (_pair(batch) for batch in train)
    else:
        raise unusable(_FORMS, train)


def first_batch(train: Any) -> tuple[Any, Any]:
    """Returns `(x, y)` of the first batch; arrays are one batch."""
    for batch in batches(train):
        return batch
    raise unusable("at least one batch", train)


def check_ends(train: Any, what: str, fix: str) -> None:
    """Raises for data that have no end where all of them have to be read.

    Args:
        train: The data.
        what: Why they are read.
        fix: What the user can do instead.
    """
    endless = isinstance(train, keras.utils.PyDataset) and train.num_batches is None
    if hasattr(train, "cardinality"):
        # -1 is `tf.data.INFINITE_CARDINALITY`.
        endless = int(train.cardinality()) == -1
    if endless:
        raise invalid_argument(
            "train",
            expected=f"a dataset that ends, for {what}",
            received=type(train),
            fix=f"{fix}, or use `.take(n)`.",
        )


def peek(validation: Any) -> tuple[Any, Any]:
    """Returns `x` and `y` or what is known of them for nothing; `None` for what is not known.

    Arrays are looked at whole, of a `PyDataset` the first batch, of a `tf.data.Dataset` the shapes.
    """
    if isinstance(validation, keras.utils.PyDataset):
        validation = validation[0]
    spec = getattr(validation, "element_spec", None)
    if isinstance(spec, tuple) and getattr(getattr(spec[0], "shape", None), "rank", None):
        return spec[0], None
    return _pair(validation) if isinstance(validation, list | tuple) else (None, None)


def check_features(features: int, x: Any) -> None:
    """Raises for validation data of other features than the training data's."""
    shape = getattr(x, "shape", (None,))
    found = 0 if shape == () else shape[-1]
    if found is not None and found != features:
        raise invalid_argument(
            "validation",
            expected=f"{features} features, as in the training data",
            received=f"shape {tuple(x.shape)}",
        )


def features_of(x: Any, arrays: bool) -> int:
    """Returns the number of features of a batch of sequences.

    Args:
        x: The batch, of shape `(batch, time, features)`.
        arrays: Whether it is all of the data, rather than a batch of a dataset.

    Raises:
        InvalidArgumentError: It has another shape.
    """
    shape = tuple(x.shape) if hasattr(x, "shape") else None
    if shape is None or len(shape) != 3 or shape[-1] is None:
        raise invalid_argument(
            "x",
            expected="one array of shape (batch, time, features)",
            received=type(x).__name__ if shape is None else f"shape {shape}",
            fix=_shape_remedy(x, arrays),
        )
    return int(shape[-1])


def unusable(expected: str, received: Any) -> InvalidArgumentError:
    """Builds the error for data which are no data of a task."""
    # Only the type: the data themselves would fill the screen.
    return invalid_argument("train", expected=expected, received=type(received), fix=REMEDY)


def _pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, list | tuple) or len(batch) not in (2, 3):
        raise unusable(f"{_FORMS}, of (x, y) or (x, y, sample_weight)", batch)
    return batch[0], batch[1]


def _shape_remedy(x: Any, arrays: bool) -> str:
    if isinstance(x, list | tuple):
        return "Make an array of it with `np.asarray(x)`."
    if len(getattr(x, "shape", ())) != 2:
        return REMEDY
    axis = "Add the missing axis with `x[..., None]`"
    return f"{axis}." if arrays else f"{axis}, or batch the dataset with `.batch(32)`."


# Reads classes off data: how many there are, and in which form; of whole sequences or of each step.


@dataclass(frozen=True)
class Task:
    """What the training data say about the model.

    Attributes:
        features: Features of one time step.
        num_classes: Number of classes.
        one_hot: Whether the targets are one-hot.
        per_step: Whether each step has a class, rather than each sequence.
    """

    features: int
    num_classes: int
    one_hot: bool
    per_step: bool = False


def infer_task(train: Any, num_classes: int | None = None, per_step: bool = False) -> Task:
    """Reads the task off the training data; a dataset is read through once.

    Args:
        train: `(x, y)`, a batched `tf.data.Dataset`, or a `keras.utils.PyDataset`.
        num_classes: The number of classes, where the training data may lack some.
        per_step: Whether each step has a class, rather than each sequence.

    Raises:
        InvalidArgumentError: The data are not those of such a classification.
    """
    name = "SequenceTagger" if per_step else "SequenceClassifier"
    fix = f"Pass {name}(num_classes, input_shape) as the hypermodel"
    check_ends(train, "the labels are counted", fix)
    features: int | None = None
    widths: set[int | None] = set()
    labels: set[int] = set()
    for x, y in batches(train):
        features = features or features_of(x, isinstance(train, list | tuple))
        width, found = _read_targets(np.asarray(y), x.shape[1] if per_step else None)
        widths.add(width)
        labels |= found
    if features is None or len(widths) != 1:
        raise unusable(
            "batches with targets of one form" if widths else "at least one batch", train
        )
    width = widths.pop()
    if width is None:
        return Task(features, _count(labels, num_classes), False, per_step)
    if num_classes not in (None, width):
        raise _bad_targets(f"{num_classes} columns, not {width}", "Leave out `num_classes`.")
    return Task(features, width, True, per_step)


def check_validation_task(task: Task, validation: Any) -> None:
    """Raises for validation data of another task than the training data's.

    Arrays are looked at whole, of a `PyDataset` the first batch, of a `tf.data.Dataset` the shapes.

    Args:
        task: What the training data say.
        validation: Validation data in any of the forms of training data.

    Raises:
        InvalidArgumentError: They have other features or other classes.
    """
    x, y = peek(validation)
    check_features(task.features, x)
    if y is not None:
        _check_classes(task, np.asarray(y), x.shape[1] if task.per_step else None)


def _check_classes(task: Task, y: Any, steps: int | None) -> None:
    width, labels = _read_targets(y, steps)
    if (width is not None) != task.one_hot or width not in (None, task.num_classes):
        form = f"one-hot rows of {task.num_classes}" if task.one_hot else "integer labels"
        expected, received = f"{form}, as in the training data", f"targets of shape {y.shape}"
        raise invalid_argument("validation", expected=expected, received=received)
    outside = sorted(label for label in labels if label >= task.num_classes)
    if outside:
        name = "SequenceTagger" if task.per_step else "SequenceClassifier"
        raise invalid_argument(
            "validation",
            expected=f"labels 0 ... {task.num_classes - 1}, as in the training data",
            received=f"labels {outside[:10]}",
            fix="Split so that each class is in the training data, or pass "
            f"{name}(num_classes, input_shape) as the hypermodel.",
        )


def _read_targets(y: Any, steps: int | None) -> tuple[int | None, set[int]]:
    """Returns the width of one-hot targets, or `None` and the integer labels there are.

    Args:
        y: The targets.
        steps: The steps of a sequence where each has a class; `None` where each sequence has one.
    """
    if y.dtype.kind not in "biuf":
        raise _bad_targets(
            f"numbers, not {y.dtype}",
            "Number the classes with `np.unique(y, return_inverse=True)[1]`.",
        )
    labelled = 1 if steps is None else 2  # dimensions of integer labels
    if y.ndim == labelled + 1 and y.shape[-1] > 1 and steps in (None, y.shape[1]):
        if not is_one_hot(y, padded=steps is not None):
            raise _bad_targets(f"rows that sum to 1 in one-hot targets of shape {y.shape}", REMEDY)
        return int(y.shape[-1]), set()
    if y.ndim not in (labelled, labelled + 1) or steps not in (None, *y.shape[1:2]):
        each = "sequence" if steps is None else f"of {steps} steps"
        raise _bad_targets(f"one class for each {each}, not shape {y.shape}", REMEDY)
    return None, _read_labels(np.unique(y))


def is_one_hot(y: Any, padded: bool = False) -> bool:
    """Says whether the last axis of targets holds classes, one-hot or as probabilities.

    Args:
        y: Numbers.
        padded: Whether rows of zeros, as at padded steps, are let through.
    """
    sums = y.sum(axis=-1, dtype="float64")
    near = np.isclose(sums, 1, rtol=0, atol=1e-3)
    return bool(y.min(initial=0) >= 0 and np.all(near | (sums == 0) if padded else near))


def _read_labels(labels: Any) -> set[int]:
    if not np.all(np.isfinite(labels)) or np.any(labels != np.floor(labels)):
        raise _bad_targets("whole numbers or one-hot rows, not fractions", REMEDY)
    if np.any(labels < 0):
        raise _bad_targets(f"no label below 0, not {int(labels[0])}", REMEDY)
    return {int(label) for label in labels}


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
