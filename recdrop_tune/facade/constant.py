"""Scores a constant predictor: one that says the same of every sequence, whatever the sequence is."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from recdrop_tune.hypermodels._classes import is_one_hot
from recdrop_tune.models._walk import walk

Array = Any
"""A NumPy array of numbers."""

CROSS_ENTROPIES = ("sparse_categorical_crossentropy", "categorical_crossentropy")
ERRORS = ("mean_squared_error", "mean_absolute_error", "huber")
_BINARY = ("binary_crossentropy", "binary_accuracy")
_ACCURACIES = ("accuracy", "sparse_categorical_accuracy", "categorical_accuracy")
_KNOWN = (*CROSS_ENTROPIES, *ERRORS, *_BINARY, *_ACCURACIES, "perplexity")
_ALIASES = {"mse": "mean_squared_error", "mae": "mean_absolute_error", "acc": "accuracy"}
# A loss that is set up otherwise is another one.
_USUAL = {"reduction": "sum_over_batch_size", "label_smoothing": 0, "axis": -1}
# A model that overrides one of these may score in any way.
_SCORING = ("compile", "compute_loss", "compute_metrics", "evaluate", "test_step")


@dataclass(frozen=True)
class Measure:
    """A loss or a metric of Keras's.

    Attributes:
        kind: Keras's name of its function.
        ignored: Steps with this target do not count; `None` where all do.
        bound: The threshold of a binary accuracy, or the delta of a Huber loss.
    """

    kind: str
    ignored: int | None = None
    bound: float | None = None


@dataclass(frozen=True)
class Compiled:
    """What a model is compiled with, as far as it is known.

    Attributes:
        measures: The loss (as `loss`) and the metrics by the names under which the model reports them.
        output: Shape of the model's output.
        masked: Whether a layer of the model makes a mask.
    """

    measures: dict[str, Measure]
    output: tuple[int | None, ...]
    masked: bool


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
        noise: Its standard error over sequences: the steps of a sequence are no independent samples.
        predicts: What is predicted, in words.
    """

    value: float
    noise: float
    predicts: str


def compiled_with(model: Any) -> Compiled | None:
    """Reads what a model with one output is compiled with; `None` where that cannot be told.

    What a model adds to its loss (a regularizer, `add_loss`) no constant predictor has, so the loss of such
    a model is not known.
    """
    if not isinstance(model, keras.Model) or not model.built or not model.compiled:
        return None
    output = getattr(model, "output_shape", None)
    one = isinstance(output, tuple) and all(
        size is None or isinstance(size, int) for size in output
    )
    if not one or any(getattr(type(model), n) is not getattr(keras.Model, n) for n in _SCORING):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of a lambda that is written down.
            config = model.get_compile_config()
    except Exception:  # A loss or a metric of the user's own, which cannot be written down.
        return None
    metrics = config.get("metrics") or []
    found = dict(map(_measure, metrics if isinstance(metrics, list) else [metrics]))
    layers = list(walk(model))
    added = model.losses or any(getattr(each, "activity_regularizer", None) for each in layers)
    if not added and not config.get("loss_weights"):
        found["loss"] = _measure(config.get("loss"))[1]
    return Compiled(
        {name: measure for name, measure in found.items() if measure is not None},
        tuple(output or ()),
        any(
            isinstance(each, keras.layers.Masking) or getattr(each, "mask_zero", False) is True
            for each in layers
        ),
    )


def _measure(described: Any) -> tuple[str, Measure | None]:
    """Reads a loss or a metric as `get_compile_config` describes it: its name, and what it is."""
    config: dict[str, Any] = {}
    if isinstance(described, str):
        name = kind = described
    elif isinstance(described, dict) and _is_ours_or_keras(described):
        kind, config = described["class_name"], described["config"]
        name = str(config.get("name", kind))
    else:
        return "", None
    kind = re.sub("(?<=[a-z])(?=[A-Z])", "_", kind).lower()
    kind = _ALIASES.get(kind, kind)
    if kind not in _KNOWN or any(config.get(key, same) != same for key, same in _USUAL.items()):
        return name, None
    if kind == "huber" and config and "delta" not in config:
        return name, None  # Keras 3.15 does not write it down.
    bound = config.get("threshold", config.get("delta"))
    return name, Measure(kind, config.get("ignore_class"), bound)


def _is_ours_or_keras(described: dict[str, Any]) -> bool:
    keras_own = str(described.get("module")).startswith("keras.")
    keras_own = keras_own and described.get("registered_name") is None
    ours = described.get("registered_name") == "recdrop_tune>Perplexity"
    return (keras_own or ours) and isinstance(described.get("config"), dict)


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
    single = output[-1] == 1 and measure.kind == "accuracy"
    if single or measure.kind in (*ERRORS, *_BINARY):
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
    if measure.kind in _ACCURACIES:
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
    found = mean_and_noise(losses, asked[1], theirs)
    if found is not None and measure.kind == "perplexity":
        # The error of exp(mean), to first order.
        found = float(np.exp(found[0])), float(np.exp(found[0])) * found[1]
    return _scored(found, "the class frequencies of the training data")


def _score_numbers(measure: Measure, output: Any, train: Targets, check: Targets) -> Score | None:
    """Scores a constant of its own for each number of a target, such as each step of a forecast."""
    shape = train.y.shape[1:] or (1,)
    fits = len(shape) == len(output) - 1 or (output[-1] == 1 and len(shape) == len(output) - 2)
    if not fits or shape != (check.y.shape[1:] or (1,)) or train.counts is not None:
        return None
    if any(size not in (None, has) for size, has in zip(output[1:], shape, strict=False)):
        return None
    known, asked = (each.y.reshape(len(each.y), -1) for each in (train, check))
    mine, theirs = (_weights(each, (len(each.y), 1)) for each in (train, check))
    if measure.kind in ("accuracy", "binary_accuracy"):
        likely = _frequencies(known, asked, shape, 1.0) > (measure.bound or 0.5)
        return _scored(mean_and_noise(asked == likely), "the most frequent class")
    if mine is None or theirs is None or mine.sum() <= 0:
        return None
    if measure.kind == "binary_crossentropy":
        if min(known.min(), asked.min()) < 0 or max(known.max(), asked.max()) > 1:
            return None
        share = _frequencies(known, asked, shape, mine)
        losses = -np.where(asked > 0, asked * np.log(np.where(asked > 0, share, 1)), 0)
        losses -= np.where(asked < 1, (1 - asked) * np.log(np.where(asked < 1, 1 - share, 1)), 0)
        found = mean_and_noise(losses, weight=theirs)
        return _scored(found, "the class frequencies of the training data")
    mean, median = (known * mine).sum(axis=0) / mine.sum(), np.median(known, axis=0)
    middle, word = median, "median"
    if measure.kind == "mean_squared_error" or (
        # What suits a Huber loss lies between: the better of the two.
        measure.kind == "huber"
        and _errors(measure, known - mean).mean() < _errors(measure, known - median).mean()
    ):
        middle, word = mean, "mean"
    found = mean_and_noise(_errors(measure, asked - middle), weight=theirs)
    return _scored(found, f"the {word} of the training targets")


def _frequencies(known: Array, asked: Array, shape: tuple[int, ...], weight: Any) -> Array:
    """Returns how often each number is 1: of steps the same at each, else each its own."""
    of_step = shape[-1:] if len(shape) > 1 else shape
    weight = np.broadcast_to(weight, known.shape).reshape(-1, *of_step)
    ones, number = (known.reshape(-1, *of_step) * weight).sum(axis=0), weight.sum(axis=0)
    asked = asked.reshape(-1, *of_step)
    unseen = ((ones <= 0) & (asked > 0).any(axis=0)) | ((ones >= number) & (asked < 1).any(axis=0))
    share = np.where(unseen, ones + 1, ones) / np.where(unseen, number + 2, number)
    return np.tile(share, known.shape[1] // share.size)


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
    return Score(*found, predicts)
