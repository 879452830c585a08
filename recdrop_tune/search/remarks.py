"""What is said of the data before a search: what they were taken for, and what looks odd."""

from __future__ import annotations

from typing import Any

import numpy as np

from recdrop_tune.errors import warn_caller
from recdrop_tune.hypermodels import (
    AbstractHyperModel,
    AbstractSequenceModel,
    SequenceRegressor,
    task_in_words,
)


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


def _lengths(x: Any, value: float) -> Any:
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
