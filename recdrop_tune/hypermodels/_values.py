"""Reads the shape of a regression's targets off data."""

from __future__ import annotations

from typing import Any

import numpy as np

from recdrop_tune.errors import invalid_argument
from recdrop_tune.hypermodels._batches import (
    REMEDY,
    check_features,
    features_of,
    first_batch,
    peek,
)


def infer_shapes(train: Any) -> tuple[int, tuple[int, ...]]:
    """Reads the features of a step and the shape of a sequence's target off the first batch.

    Args:
        train: `(x, y)`, a batched `tf.data.Dataset`, or a `keras.utils.PyDataset`.

    Returns:
        The number of features, and the shape of a target: `()`, `(values,)`, `(horizon,)` or
        `(horizon, values)`.

    Raises:
        InvalidArgumentError: The data are not those of a regression on sequences.
    """
    x, y = first_batch(train)
    features = features_of(x, isinstance(train, list | tuple))
    return features, _read_shape(np.asarray(y))


def check_validation_values(features: int, target_shape: tuple[int, ...], validation: Any) -> None:
    """Raises for validation data of another shape than the training data's.

    Raises:
        InvalidArgumentError: They have other features or targets of another shape.
    """
    x, y = peek(validation)
    check_features(features, x)
    if y is None:
        return
    # One number may come as (batch,) or as (batch, 1).
    if (_read_shape(np.asarray(y)) or (1,)) != (target_shape or (1,)):
        raise invalid_argument(
            "validation",
            expected=f"targets of shape {target_shape} for each sequence, as in the training data",
            received=f"targets of shape {np.shape(y)}",
        )


def _read_shape(y: Any) -> tuple[int, ...]:
    if y.dtype.kind not in "biuf" or y.ndim not in (1, 2, 3) or 0 in y.shape[1:]:
        raise invalid_argument(
            "y",
            expected="numbers of shape (batch,), (batch, values), (batch, horizon) or "
            "(batch, horizon, values)",
            received=f"{y.dtype} of shape {y.shape}",
            fix=REMEDY,
        )
    if not np.all(np.isfinite(y)):
        raise invalid_argument(
            "y",
            expected="finite numbers",
            received=f"{np.sum(~np.isfinite(y))} that are infinite or not a number",
            fix="Leave out those sequences, or fill them in.",
        )
    return tuple(int(size) for size in y.shape[1:])
