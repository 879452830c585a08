"""Describes the data of a search, and scores a constant predictor on them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import keras
import keras_tuner as kt
import numpy as np

from recdrop_tune.events import Context
from recdrop_tune.hypermodels import LanguageModel
from recdrop_tune.search.constant import ConstantScore, score_constant


def context_of(
    train: Any, validation: Any, hypermodel: Any, model: Any, goals: Iterable[kt.Objective]
) -> Context | None:
    """Returns the data of a search in one line, and what a constant predictor scores on them.

    Datasets are not read. Without validation data, as with `cv` and `validation_split`, the constant is
    scored on the training targets.

    Args:
        train: The training data.
        validation: The validation data, or None.
        hypermodel: The hypermodel, whose `mask_value` marks padding.
        model: One of its models, compiled; None if it is scored in another way than Keras's.
        goals: The objectives.

    Returns:
        The context; None if nothing is known.
    """
    value = (
        0 if getattr(hypermodel, "mask_zero", False) else getattr(hypermodel, "mask_value", None)
    )
    scores: dict[str, ConstantScore] = {}
    words = ""
    # A summary can do without either, and people train on data and models of any kind.
    with suppress(Exception):
        words = describe_data(train, value, getattr(model, "output_shape", (None, None))[-1])
    with suppress(Exception):
        if isinstance(train, tuple) and isinstance(model, keras.Model):
            scores = score_constant(model, train, validation, goals)
    if not words and not scores:
        return None
    is_text = isinstance(hypermodel, LanguageModel)
    return Context(
        words=words,
        predicts={
            name: each.predicts.replace("class", "word") if is_text else each.predicts
            for name, each in scores.items()
        },
        constant={name: each.value for name, each in scores.items()},
        standard_error={name: each.standard_error for name, each in scores.items()},
    )


def describe_data(data: Any, mask_value: float | None = None, outputs: int | None = None) -> str:
    """Describes data in one line.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)` arrays, or a dataset, which is not read.
        mask_value: The value that padded steps consist of, or None.
        outputs: How many numbers a model puts out for a target. Integers beyond that are not labels.

    Example:
        >>> x = np.zeros((100, 5, 3))
        >>> describe_data((x, np.repeat([0, 1], [88, 12])))
        '2 classes, 12 % positive, 100 sequences of 5 steps, 3 features'
    """
    if not isinstance(data, list | tuple):
        return _number(len(data), "batch", "batches")
    x, y = data[:2]
    if not hasattr(x, "shape") or len(x.shape) not in (2, 3):
        return _number(len(keras.tree.flatten(y)[0]), "sample")
    x, y = np.asarray(x), np.asarray(y)
    is_tokens = x.ndim == 2 and x.dtype.kind in "iu"
    if x.ndim == 2 and not is_tokens:
        return _number(len(x), "sample")
    steps = _number(x.shape[1], "step")
    if mask_value is not None:
        filled = x != mask_value if is_tokens else (x != mask_value).any(axis=-1)
        last = np.where(filled.any(axis=1), x.shape[1] - filled[:, ::-1].argmax(axis=1), 0)
        if last.min() < last.max():
            steps = f"{last.min():,} to {last.max():,} steps"
        y = y[filled] if y.shape[:2] == filled.shape else y
    words = f"{_number(len(x), 'sequence')} of {steps}"
    if is_tokens:
        return f"{int(x.max()) + 1:,} words, {words}"
    targets = _describe_targets(y, outputs)
    return f"{f'{targets}, ' if targets else ''}{words}, {_number(x.shape[2], 'feature')}"


def _describe_targets(y: Any, outputs: int | None) -> str:
    if y.dtype.kind not in "biuf":
        return ""
    is_one_hot = y.ndim > 1 and y.shape[-1] > 1 and bool(np.all(np.isclose(y.sum(axis=-1), 1)))
    labels = y.argmax(axis=-1) if is_one_hot else y
    most = max(int(labels.max()) if outputs is None else outputs - 1, 1)
    if (labels.dtype.kind == "f" and not np.isin(labels, (0, 1)).all()) or not (
        labels.min() >= 0 and labels.max() <= most
    ):
        size = "" if y.ndim == 1 or y.shape[1:] == (1,) else f"{' × '.join(map(str, y.shape[1:]))} "
        return f"{size}targets of mean {y.mean():.3g} and standard deviation {y.std():.3g}"
    shares = np.bincount(labels.astype(int).ravel(), minlength=most + 1) / labels.size
    share = shares[1] if len(shares) == 2 else shares.max()
    # A rare class is not 0 %.
    percent = f"{100 * share:.{2 if 0 < share < 0.01 or 0.99 < share < 1 else 0}f} %"
    return f"{len(shares):,} classes, " + (
        f"{percent} positive" if len(shares) == 2 else f"the largest {percent}"
    )


def _number(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
