"""Describes the data of a search, and scores a constant predictor on them.

The constant knows the training targets but never looks at a sequence: a trial that is not clearly better has
learned nothing from its sequences. Keras does the scoring: the model's loss and metrics get the constant
instead of the model's output, with its mask. So the scores compare with those of the trials.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import keras
import keras_tuner as kt
import numpy as np

from recdrop_tune.events import Context
from recdrop_tune.kernels import mask_of
from recdrop_tune.search.data_check import is_of_keras

Array = Any
"""A NumPy array."""

_MOST = 4_000_000
"""Predicted numbers that are scored. More take long, and a sample is accurate enough."""

_FREQUENCIES = "the class frequencies of the training data"


def context_of(
    train: Any,
    validation: Any,
    hypermodel: Any,
    model: Any,
    goal: kt.Objective,
    padding: float | None = None,
) -> Context | None:
    """Returns the data of a search in one line, and what a constant predictor scores on arrays."""
    if padding is None:
        padding = getattr(hypermodel, "mask_value", None)
    if getattr(hypermodel, "mask_zero", False):
        padding = 0
    words, predicts, constant = "", "", math.nan
    # A summary can do without either, and people train on data and models of any kind.
    with suppress(Exception):
        words = describe_data(train, padding, getattr(model, "output_shape", (None, None))[-1])
    with suppress(Exception):
        is_read = isinstance(train, tuple) and isinstance(validation, tuple | None)
        is_scored_by_keras = getattr(type(model), "test_step", None) is keras.Model.test_step
        # A user-defined loss may take anything.
        takes_outputs = is_of_keras(model.loss) and not getattr(model.loss, "from_logits", False)
        if is_read and is_scored_by_keras and takes_outputs:
            predicts, scores = score_constant(model, train, validation)
            constant = scores.get(goal.name, math.nan)
    if predicts == _FREQUENCIES and goal.direction == "max":
        predicts = (
            "the most frequent class"  # An accuracy takes the class with the largest frequency.
        )
    if math.isfinite(constant):
        return Context(words=words, predicts=predicts, constant=constant)
    return Context(words=words) if words else None


def describe_data(data: Any, mask_value: float | None = None, outputs: int | None = None) -> str:
    """Describes data in one line, such as '2 classes, 12 % positive, 100 sequences of 5 steps, 3 features'.

    `outputs` is how many numbers a model puts out for a target. Integers beyond that are not labels.
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
    is_label = labels.dtype.kind != "f" or np.isin(labels, (0, 1)).all()
    if not is_label or labels.min() < 0 or labels.max() > most:
        size = "" if y.ndim == 1 or y.shape[1:] == (1,) else f"{' × '.join(map(str, y.shape[1:]))} "
        return f"{size}targets of mean {y.mean():.3g} and standard deviation {y.std():.3g}"
    shares = np.bincount(labels.astype(int).ravel(), minlength=most + 1) / labels.size
    share = shares[1] if len(shares) == 2 else shares.max()
    # A rare class is not 0 %.
    percent = f"{100 * share:.{2 if 0 < share < 0.01 or 0.99 < share < 1 else 0}f} %"
    words = f"{percent} positive" if len(shares) == 2 else f"the largest {percent}"
    return f"{len(shares):,} classes, {words}"


def _number(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def score_constant(model: keras.Model, train: Any, validation: Any) -> tuple[str, dict[str, float]]:
    """Returns a constant in words, and its scores on the validation data, or else on the training data."""
    training = _Targets(model, train)
    name, constant = training.constant()
    targets = training if validation is None else _Targets(model, validation)
    return name, targets.score(constant)


class _Targets:
    """Targets, and what Keras needs to score a constant prediction of them."""

    def __init__(self, model: keras.Model, data: Any) -> None:
        x, y, weight = (*data, None)[:3]
        # As many as in `check_data`: JAX compiles each op anew for another number of samples.
        first = model(_rows(x, slice(0, 4)), training=False)
        self.model = model
        self.shape = tuple(first.shape[1:])  # Without the batch.
        most = max(2, _MOST // int(np.prod(self.shape)))
        rows = np.random.default_rng(0).permutation(len(y))[:most]
        self.y = np.asarray(y)[rows]
        self.weight = None if weight is None else np.asarray(weight)[rows]
        self.mask: Any = None
        if mask_of(first) is not None:
            # Only the model knows which steps count, so it has to read all of them.
            # Large batches: JAX compiles anew for each of these calls.
            parts = np.array_split(rows, -(-len(rows) // 2048))
            masks = [mask_of(model(_rows(x, part), training=False)) for part in parts]
            self.mask = np.concatenate([keras.ops.convert_to_numpy(mask) for mask in masks])

    def score(self, constant: Array) -> dict[str, float]:
        """Returns the loss and the metrics of a constant; their names start with `val_`."""
        model, y, weight = self.model, self.y, self.weight
        constants = np.broadcast_to(constant, (len(y), *self.shape)).astype(keras.config.floatx())
        predicted = keras.ops.convert_to_tensor(constants)
        if self.mask is not None:
            predicted._keras_mask = keras.ops.convert_to_tensor(self.mask)
        model.reset_metrics()
        loss = model.compute_loss(None, y, predicted, weight, training=False)
        metrics = model.compute_metrics(None, y, predicted, weight)
        # A constant has no weights to be regularized.
        metrics["loss"] = loss - sum(model.losses)
        return {f"val_{name}": float(each) for name, each in metrics.items() if np.ndim(each) == 0}

    def constant(self) -> tuple[str, Array]:
        """Returns the mean target, or the class frequencies, in words and in the shape of a prediction.

        Labels and masked targets get one constant for all steps, other targets one for each step.
        """
        y, counts = self.y, np.ones((len(self.y), 1))
        for factor in (self.mask, self.weight):
            if factor is not None:
                counts = counts * factor.reshape(len(y), -1)  # (batch, 1) or (batch, time)
        integers, classes = y.dtype.kind in "biu", self.shape[-1]
        if integers and classes > 1 and y.size * classes == len(y) * np.prod(self.shape):
            labels = y.reshape(len(y), -1)
            weight = counts * (labels != getattr(self.model.loss, "ignore_class", None))
            frequency = np.bincount(labels.ravel(), weight.ravel(), classes)
            return _FREQUENCIES, frequency / frequency.sum()
        y = y.reshape(len(y), *self.shape).astype("float64")
        counts = np.broadcast_to(counts.reshape(*counts.shape, *[1] * (y.ndim - 2)), y.shape)
        axes = (0, 1) if y.ndim == 3 and (integers or self.mask is not None) else (0,)
        mean = (y * counts).sum(axes) / counts.sum(axes)
        is_class = bool(np.isin(y, (0, 1)).all())
        return _FREQUENCIES if is_class else "the mean of the training targets", mean


def _rows(x: Any, rows: Any) -> Any:
    return keras.tree.map_structure(lambda part: np.asarray(part)[rows], x)
