"""Scores a constant predictor: one that says the same of every sequence, whatever the sequence is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recdrop_tune.hypermodels import is_one_hot
from recdrop_tune.search.hypermodel_of import ACCURACIES, BINARY, ERRORS, Measure

Array = Any
"""A NumPy array of numbers."""

# How lucky the best of many epochs of many trials is, in standard deviations.
_LUCK = 4.0


@dataclass(frozen=True)
class Targets:
    """The targets of a data set.

    Attributes:
        y: Finite numbers, one row a sequence.
        weight: Sample weights, or `None`.
        counts: Which steps count, of shape `(batch, time)`; `None` where all do.
    """

    y: Array
    weight: Array | None = None
    counts: Array | None = None


@dataclass(frozen=True)
class Score:
    """What a constant predictor scores.

    Attributes:
        value: The score.
        noise: Its standard error over sequences, for the steps of a sequence are no independent samples; or
            half of what a model that has learned nothing may gain by luck, where that is more.
        predicts: What is predicted, in words.
    """

    value: float
    noise: float
    predicts: str


def score(measure: Measure, output: Any, train: Targets, check: Targets) -> Score | None:
    """Scores the constant that suits the training targets best on other targets.

    Class frequencies for a cross-entropy, the most frequent class for an accuracy, the mean for squared
    errors, the median for absolute ones. Where the training data lack a class that is asked for, each class
    counts once more, for its logarithm would be infinite. As in Keras, sample weights count in losses and not
    in metrics.

    Args:
        measure: The loss or the metric.
        output: Shape of the model's output.
        train: The training targets.
        check: The targets to score on.

    Returns:
        The score; `None` where the targets do not suit the measure, or there is but one sequence.
    """
    if measure.kind in BINARY or (output[-1] == 1 and measure.kind == "accuracy"):
        return _score_binary(measure, output, train, check)
    if measure.kind in ERRORS:
        return _score_numbers(measure, output, train, check)
    return _score_classes(measure, output, train, check)


def mean_and_noise(losses: Array, counts: Any = 1, weight: Any = 1) -> tuple[float, float] | None:
    """Returns a mean over the steps that count, and its standard error over sequences.

    With l the sum of a sequence's losses and n its number of steps the mean is sum(l) / sum(n), and its
    variance that of a ratio: N / (N - 1) sum((l - mean n)^2) / sum(n)^2. With one step each it is the usual
    one.

    Args:
        losses: Shape `(batch, time)`.
        counts: Which of them count, of the same shape.
        weight: What each is multiplied by.

    Returns:
        The two; `None` if there are fewer than two sequences, or no step counts.
    """
    number = np.broadcast_to(counts, losses.shape).sum(axis=1)
    total, sequences = float(number.sum()), len(losses)
    if sequences < 2 or total == 0:
        return None
    of_sequence = (losses * counts * weight).sum(axis=1)
    mean = float(of_sequence.sum()) / total
    squares = float(np.square(of_sequence - mean * number).sum())
    return mean, (sequences / (sequences - 1) * squares) ** 0.5 / total


def labels_of(targets: Targets, output: Any, ignored: int | None = None) -> Any:
    """Returns integer labels and which of them count, both of shape `(batch, time)`.

    `None` for other targets. Of whole sequences the time is 1. One-hot rows become the labels of their
    largest entries.

    Args:
        targets: The targets.
        output: Shape of the model's output, `(batch, classes)` or `(batch, time, classes)`.
        ignored: The label of steps that do not count.
    """
    y, classes = targets.y, output[-1]
    if classes is None or classes < 2:
        return None
    if _is_rows(y, output):
        y = y.argmax(axis=-1)
    elif y.ndim == len(output) and y.shape[-1] == 1:
        y = y[..., 0]
    if y.ndim != len(output) - 1 or y.ndim > 2:
        return None
    labels = y.reshape(len(y), -1)
    counts = np.ones(labels.shape, bool) if targets.counts is None else targets.counts
    if counts.shape != labels.shape:
        return None
    if ignored is not None:
        counts = counts & (labels != ignored)
        labels = np.where(counts, labels, 0)
    if labels.min() < 0 or labels.max() >= classes:
        return None
    if labels.dtype.kind == "f" and np.any(labels != np.floor(labels)):
        return None
    return labels.astype("int64"), counts


def _is_rows(y: Array, output: Any) -> bool:
    return y.ndim == len(output) and y.shape[-1] == output[-1] and is_one_hot(y, padded=y.ndim > 2)


def _score_classes(measure: Measure, output: Any, train: Targets, check: Targets) -> Score | None:
    known, asked = (labels_of(each, output, measure.ignored) for each in (train, check))
    rows = [_is_rows(each.y, output) for each in (train, check)]
    wanted = {"sparse_categorical_crossentropy": [False, False], "perplexity": [False, False]}
    wanted["categorical_crossentropy"] = [True, True]
    if known is None or asked is None or rows != wanted.get(measure.kind, rows):
        return None
    if not known[1].any():
        return None
    (labels, counts), classes = known, output[-1]
    if measure.kind in ACCURACIES:
        likeliest = np.bincount(labels[counts], minlength=classes).argmax()
        found = mean_and_noise(asked[0] == likeliest, asked[1])
        return _scored(found, "the most frequent class")
    weighted = measure.kind != "perplexity"
    weights = [
        _weights(each, each_labels[0].shape)
        for each, each_labels in ((train, known), (check, asked))
    ]
    if weighted and (weights[0] is None or weights[1] is None):
        return None
    mine, theirs = weights if weighted else (1.0, 1.0)
    if rows[0]:  # Probabilities may be anything between one-hot rows.
        often = (train.y.reshape(*labels.shape, classes) * (counts * mine)[..., None]).sum((0, 1))
        soft = check.y.reshape(*asked[0].shape, classes) * asked[1][..., None]
        needed = soft.any((0, 1))
    else:
        weight = np.broadcast_to(counts * mine, labels.shape)
        often = np.bincount(labels.ravel(), weight.ravel(), minlength=classes)
        needed = np.bincount(asked[0][asked[1]], minlength=classes) > 0
    if np.any(often[needed] <= 0):
        often = often + 1
    logarithms = np.log(np.where(needed, often, 1) / often.sum())
    losses = -(soft @ logarithms) if rows[0] else -logarithms[asked[0]]
    found = _entropy_and_noise(losses, asked[1], theirs)
    if found is not None and measure.kind == "perplexity":
        # The error of exp(mean), to first order.
        found = float(np.exp(found[0])), float(np.exp(found[0])) * found[1]
    return _scored(found, "the class frequencies of the training data")


def _entropy_and_noise(losses: Array, counts: Array, weight: Any) -> tuple[float, float] | None:
    """Returns a mean cross-entropy and its noise.

    The standard error of the constant's score says little: it is 0 where all classes are as frequent. A model
    that has learned nothing, whose log-probabilities differ from the constant's with a variance of v, is
    worse by v / 2 in the mean of n samples, give or take sqrt(v / n). With the luck of z standard deviations
    it is better by z sqrt(v / n) - v / 2, which is z^2 / (2 n) at most.
    """
    found, samples = mean_and_noise(losses, counts, weight), counts.sum()
    if found is None:
        return None
    return found[0], max(found[1], _LUCK**2 / 2 / samples / 2 * float(np.mean(weight)))


def _score_binary(measure: Measure, output: Any, train: Targets, check: Targets) -> Score | None:
    """Scores a constant of its own for each 0 or 1 of a target; for all steps the same one."""
    of_steps = len(output) == 3 and output[-1] == 1
    if of_steps and train.y.ndim == check.y.ndim == 2:
        train, check = (replace(each, y=each.y[..., None]) for each in (train, check))
    if not _fit(output, train, check):
        return None
    known, asked = (each.y.reshape(len(each.y), -1) for each in (train, check))
    counted, counts = (
        np.ones(y.shape, bool) if each.counts is None else each.counts
        for each, y in ((train, known), (check, asked))
    )
    if counted.shape != known.shape or counts.shape != asked.shape:
        return None
    needed, shape = (asked, counts), train.y.shape[1:]
    if measure.kind in ("accuracy", "binary_accuracy"):
        likely = _frequencies(known, counted, needed, shape) > (measure.bound or 0.5)
        return _scored(mean_and_noise(asked == likely, counts), "the most frequent class")
    mine, theirs = (
        _weights(each, (len(y), y.shape[1] if of_steps else 1))
        for each, y in ((train, known), (check, asked))
    )
    if mine is None or theirs is None or (counted * mine).sum() <= 0:
        return None
    if min(known.min(), asked.min()) < 0 or max(known.max(), asked.max()) > 1:
        return None
    share = _frequencies(known, counted * mine, needed, shape)
    losses = -np.where(asked > 0, asked * np.log(np.where(asked > 0, share, 1)), 0)
    losses -= np.where(asked < 1, (1 - asked) * np.log(np.where(asked < 1, 1 - share, 1)), 0)
    found = _entropy_and_noise(np.where(counts, losses, 0), counts, theirs)
    return _scored(found, "the class frequencies of the training data")


def _frequencies(known: Array, weight: Array, needed: tuple[Array, Array], shape: Any) -> Array:
    """Returns how often each number is 1: of steps the same at each, else each its own.

    Args:
        known: The training targets, one row a sequence.
        weight: What each of them counts.
        needed: The targets to score on, and which of them count. Where the training data lack one of their
            values, each counts once more.
        shape: Shape of a target.
    """
    of_step = shape[-1:] if len(shape) > 1 else (known.shape[1],)
    weight = weight.reshape(-1, *of_step)
    ones, number = (known.reshape(-1, *of_step) * weight).sum(axis=0), weight.sum(axis=0)
    asked, counts = (part.reshape(-1, *of_step) for part in needed)
    lacks_ones = (ones <= 0) & (counts & (asked > 0)).any(axis=0)
    lacks_zeros = (ones >= number) & (counts & (asked < 1)).any(axis=0)
    unseen = lacks_ones | lacks_zeros
    share = np.where(unseen, ones + 1, ones) / np.where(unseen, number + 2, number)
    return np.tile(share, known.shape[1] // share.size)


def _fit(output: Any, train: Targets, check: Targets) -> bool:
    """Says whether both targets have the shape of the output; its last axis of 1 they may lack."""
    shape = train.y.shape[1:] or (1,)
    same_axes = len(shape) == len(output) - 1 or (output[-1] == 1 and len(shape) == len(output) - 2)
    if not same_axes or shape != (check.y.shape[1:] or (1,)):
        return False
    return all(size in (None, has) for size, has in zip(output[1:], shape, strict=False))


def _score_numbers(measure: Measure, output: Any, train: Targets, check: Targets) -> Score | None:
    """Scores a constant of its own for each number of a target, such as each step of a forecast."""
    if not _fit(output, train, check) or train.counts is not None:
        return None
    known, asked = (each.y.reshape(len(each.y), -1) for each in (train, check))
    mine, theirs = (_weights(each, (len(each.y), 1)) for each in (train, check))
    if mine is None or theirs is None or mine.sum() <= 0:
        return None
    mean, median = (known * mine).sum(axis=0) / mine.sum(), np.median(known, axis=0)
    middle, word = median, "median"
    if measure.kind == "mean_squared_error" or (
        # What suits a Huber loss lies between: the better of the two.
        measure.kind == "huber"
        and _errors(measure, known - mean).mean() < _errors(measure, known - median).mean()
    ):
        middle, word = mean, "mean"
    found = mean_and_noise(_errors(measure, asked - middle), weight=theirs)
    if found is not None:
        # The same as for a cross-entropy: of squared errors luck gains z^2 / n of their mean at most.
        found = found[0], max(found[1], _LUCK**2 / asked.size / 2 * found[0])
    return _scored(found, f"the {word} of the training targets")


def _errors(measure: Measure, difference: Array) -> Array:
    if measure.kind == "mean_squared_error":
        return np.square(difference)
    size = np.abs(difference)
    if measure.kind == "mean_absolute_error":
        return size
    delta = 1.0 if measure.bound is None else measure.bound
    return np.where(size <= delta, size**2 / 2, delta * size - delta**2 / 2)


def _weights(targets: Targets, shape: tuple[int, ...]) -> Any:
    """Returns the sample weights as factors of losses of a shape; `None` where they do not fit."""
    if targets.weight is None:
        return np.ones((1, 1)) if shape[1] > 1 else np.ones(shape)
    weight = targets.weight
    weight = weight[:, None] if weight.ndim == 1 else weight
    return weight if weight.shape == shape and weight.min() >= 0 else None


def _scored(found: tuple[float, float] | None, predicts: str) -> Score | None:
    if found is None or not np.all(np.isfinite(found)):
        return None
    return Score(float(found[0]), float(found[1]), predicts)
