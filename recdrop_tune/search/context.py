"""Describes the data of a search, and scores a constant predictor on them.

The constant knows the training targets but never looks at a sequence: a trial that is not clearly better has
learned nothing from its sequences. Keras does the scoring: the model's loss and metrics get the constant
instead of the model's output, with its mask. So any loss and any metric works, and the scores compare with
those of the trials.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import keras
import keras_tuner as kt
import numpy as np

from recdrop_tune.events import Context
from recdrop_tune.hypermodels import LanguageModel
from recdrop_tune.kernels import mask_of

Array = Any
"""A NumPy array."""

_MOST = 4_000_000
"""Predicted numbers that are scored. More, as of a language model, take long; a sample is accurate enough."""

_GROUPS = 20
"""Jackknife groups. The standard error is off by about a sixth, for twenty scorings."""

_FREQUENCIES = "the class frequencies of the training data"


def context_of(
    train: Any, validation: Any, hypermodel: Any, model: Any, goals: Iterable[kt.Objective]
) -> Context | None:
    """Returns the data of a search in one line, and what a constant predictor scores on them.

    Datasets are not read. Without validation data, as with `cv` and `validation_split`, the constant is
    scored on the training targets. `model` is one of the hypermodel's, compiled; None if it is scored in
    another way than Keras's.
    """
    padding = getattr(hypermodel, "mask_value", None)
    if getattr(hypermodel, "mask_zero", False):
        padding = 0
    scores: dict[str, ConstantScore] = {}
    words = ""
    # A summary can do without either, and people train on data and models of any kind.
    with suppress(Exception):
        words = describe_data(train, padding, getattr(model, "output_shape", (None, None))[-1])
    with suppress(Exception):
        is_read = isinstance(train, tuple) and isinstance(validation, tuple | None)
        if is_read and isinstance(model, keras.Model):
            scores = score_constant(model, train, validation, goals)
    if not words and not scores:
        return None
    unit = "word" if isinstance(hypermodel, LanguageModel) else "class"
    return Context(
        words=words,
        predicts={n: each.predicts.replace("class", unit) for n, each in scores.items()},
        constant={n: each.value for n, each in scores.items()},
        standard_error={n: each.standard_error for n, each in scores.items()},
    )


def describe_data(data: Any, mask_value: float | None = None, outputs: int | None = None) -> str:
    """Describes data in one line.

    `outputs` is how many numbers a model puts out for a target. Integers beyond that are not labels.

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


class ConstantScore(NamedTuple):
    """The score of a constant predictor.

    Attributes:
        value: Its score on the validation data.
        standard_error: How much of a gain over it may be luck: one standard error over sequences, or more.
        predicts: The constant in words, such as "the class frequencies of the training data".
    """

    value: float
    standard_error: float
    predicts: str


def score_constant(
    model: keras.Model, train: Any, validation: Any, goals: Iterable[kt.Objective]
) -> dict[str, ConstantScore]:
    """Scores the best constant predictor by each objective that starts with `val_`.

    The candidates are the mean and the median of the training targets, or the frequencies of their classes,
    as probabilities and as logits. The one with the best training score is scored on the validation data, or
    without these on the training data. The model has one output, and its metrics are reset.
    """
    known = _Targets(model, train)
    asked = known if validation is None else _Targets(model, validation)
    (mean, median), (wanted, _) = known.moments(), asked.moments()
    lacking = np.any((mean == 0) & (wanted > 0)) or np.any((mean == 1) & (wanted < 1))
    if lacking:
        # The logarithm of a class that the training data lack is infinite: add half a target of each.
        mean, median = (mean * len(known.y) + 0.5) / (len(known.y) + 1), None
    candidates = _candidates(known.y, mean, median)
    judge = asked if lacking else known
    scores = {key: judge.score(constant) for key, constant in candidates.items()}
    found: dict[str, ConstantScore] = {}
    for goal in goals:
        name, sign = goal.name.removeprefix("val_"), -1 if goal.direction == "max" else 1
        if not goal.name.startswith("val_") or not all(name in each for each in scores.values()):
            continue
        best = min(scores, key=lambda key: sign * scores[key][name])
        value = asked.score(candidates[best])[name]
        error = asked.standard_error(candidates[best], name)
        words = best[0]
        if sign > 0:
            # The standard error does not bound luck: it is 0 if all classes are equally frequent. The outputs
            # of a model that has learned nothing differ from the constant with some variance v. That costs
            # v / 2 in the mean over n targets, give or take sqrt(v / n). At z standard deviations it gains
            # z^2 / (2 n) at most (for a squared error, that share of it twice). The best of many epochs of
            # many trials reaches z = 4, and a gain counts from two of them on.
            error = max(error, 4**2 / 2 * value / asked.number)
        elif words == _FREQUENCIES:
            words = "the most frequent class"  # Of probabilities, an accuracy takes the largest.
        if np.isfinite(value) and np.isfinite(error):
            found[goal.name] = ConstantScore(value, error, words)
    return found


class _Targets:
    """Targets, and what Keras needs to score a constant prediction of them.

    Attributes:
        number: How many predictions count: one for each sequence, or for each step.
    """

    def __init__(self, model: keras.Model, data: Any) -> None:
        x, y, weight = (*data, None)[:3]
        first = model(_rows(x, slice(0, 32)), training=False)
        self.model = model
        self.shape = tuple(first.shape[1:])  # Without the batch.
        most = max(2, _MOST // int(np.prod(self.shape)))
        rows = np.random.default_rng(0).permutation(len(y))[:most]
        self.y = np.asarray(y)[rows]
        self.weight = None if weight is None else np.asarray(weight)[rows]
        self.mask: Any = None
        self.number = int(np.prod(self.y.shape[: len(self.shape)]))
        if mask_of(first) is not None:
            # Only the model knows which steps count, so it has to read all of them.
            # Large batches: JAX compiles anew for each of these calls.
            parts = np.array_split(rows, -(-len(rows) // 2048))
            masks = [mask_of(model(_rows(x, part), training=False)) for part in parts]
            self.mask = np.concatenate([keras.ops.convert_to_numpy(mask) for mask in masks])
            self.number = int(self.mask.sum())

    def score(self, constant: Array, rows: Any = slice(None)) -> dict[str, float]:
        """Returns the loss and the metrics of a constant, by name."""
        model, y = self.model, self.y[rows]
        weight, mask = (None if each is None else each[rows] for each in (self.weight, self.mask))
        constants = np.broadcast_to(constant, (len(y), *self.shape)).astype(keras.config.floatx())
        predicted = keras.ops.convert_to_tensor(constants)
        if mask is not None:
            predicted._keras_mask = keras.ops.convert_to_tensor(mask)
        model.reset_metrics()
        loss = model.compute_loss(None, y, predicted, weight, training=False)
        metrics = model.compute_metrics(None, y, predicted, weight)
        # A constant has no weights to be regularized.
        metrics["loss"] = loss - sum(model.losses)
        return {name: float(value) for name, value in metrics.items() if np.ndim(value) == 0}

    def standard_error(self, constant: Array, name: str) -> float:
        """Returns the standard error of a score, by the jackknife over whole, independent sequences."""
        groups = min(_GROUPS, len(self.y))
        group = np.random.default_rng(1).permutation(len(self.y)) % groups
        without = [self.score(constant, group != each)[name] for each in range(groups)]
        return float(((groups - 1) * np.var(without)) ** 0.5)

    def moments(self) -> tuple[Array, Array | None]:
        """Returns the mean target in the shape of a prediction, and the median unless targets are labels.

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
            return frequency / frequency.sum(), None
        y = y.reshape(len(y), *self.shape).astype("float64")
        counts = np.broadcast_to(counts.reshape(*counts.shape, *[1] * (y.ndim - 2)), y.shape)
        axes = (0, 1) if y.ndim == 3 and (integers or self.mask is not None) else (0,)
        mean = (y * counts).sum(axes) / counts.sum(axes)
        return mean, np.nanmedian(np.where(counts > 0, y, np.nan), axes)


def _candidates(y: Array, mean: Array, median: Array | None) -> dict[tuple[str, str], Array]:
    """Returns constants by their name and form."""
    classes = median is None or np.isin(y, (0, 1)).all()
    name = _FREQUENCIES if classes else "the mean of the training targets"
    found = {(name, "plain"): mean}
    if median is not None:
        found["the median of the training targets", "plain"] = median
    if np.all((mean >= 0) & (mean <= 1)):
        share = np.clip(mean, 1e-7, 1 - 1e-7)
        found[name, "softmax"], found[name, "sigmoid"] = np.log(share), np.log(share / (1 - share))
    return found


def _rows(x: Any, rows: Any) -> Any:
    return keras.tree.map_structure(lambda part: np.asarray(part)[rows], x)
