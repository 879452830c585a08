"""Reads training data in any of the usual forms, batch by batch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import InvalidArgumentError, invalid_argument

REMEDY = "Pass a hypermodel or a build function for any other task."
_FORMS = "(x, y) arrays, a batched tf.data.Dataset or a keras.utils.PyDataset"


def batches(train: Any) -> Iterator[tuple[Any, Any]]:
    """Yields `(x, y)` of every batch; arrays are one batch."""
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


def is_endless(data: Any) -> bool:
    """Returns whether data are an infinite dataset."""
    if hasattr(data, "cardinality"):
        return int(data.cardinality()) == -1  # `tf.data.INFINITE_CARDINALITY`.
    return isinstance(data, keras.utils.PyDataset) and data.num_batches is None


def check_ends(train: Any, what: str, fix: str) -> None:
    """Raises for a dataset without an end: all of it is read for `what`, and `fix` is how to avoid that."""
    if is_endless(train):
        raise invalid_argument(
            "train",
            expected=f"a dataset that ends, for {what}",
            received=type(train),
            fix=f"{fix}, or use `.take(n)`.",
        )


def features_of(x: Any, y: Any, arrays: bool) -> int:
    """Returns the number of features of sequences: `arrays` are all of the data, else it is a batch."""
    shape = tuple(x.shape) if hasattr(x, "shape") else None
    if shape is None or len(shape) != 3 or shape[-1] is None:
        fix = REMEDY
        if shape is not None and len(shape) == 2:
            fix = "Add the missing axis with `x[..., None]`"
            fix += "." if arrays else ", or batch the dataset with `.batch(32)`."
        elif shape is not None and (len(shape), len(getattr(y, "shape", ()))) == (1, 3):
            fix = "Swap x and y: y has that shape."
        raise invalid_argument(
            "x",
            expected="one array of shape (batch, time, features)",
            received=type(x).__name__ if shape is None else f"shape {shape}",
            fix=fix,
        )
    return int(shape[-1])


def is_one_hot(y: Any, padded: bool = False) -> bool:
    """Returns whether the last axis of targets holds classes, one-hot or as probabilities.

    With `padded`, rows of zeros are allowed too.
    """
    sums = y.sum(axis=-1, dtype="float64")
    near = np.isclose(sums, 1, rtol=0, atol=1e-3)
    return bool(y.min(initial=0) >= 0 and np.all(near | (sums == 0) if padded else near))


def unusable(expected: str, received: Any) -> InvalidArgumentError:
    """Returns the error for data that do not suit any hypermodel; it shows only their type."""
    return invalid_argument("train", expected=expected, received=type(received), fix=REMEDY)


def _pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, list | tuple) or len(batch) not in (2, 3):
        raise unusable(f"{_FORMS}, of (x, y) or (x, y, sample_weight)", batch)
    return batch[0], batch[1]
