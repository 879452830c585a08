"""Classification of sequences, or of each of their steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, final

import keras
import numpy as np

from recdrop_tune.errors import InvalidArgumentError, check_flag, check_integer
from recdrop_tune.hypermodels.data import (
    REMEDY,
    batches,
    check_ends,
    features_of,
    is_one_hot,
    unusable,
)
from recdrop_tune.hypermodels.hypermodel import AbstractSequenceModel


class AbstractLabelModel(AbstractSequenceModel):
    """A model that labels whole sequences, or with `return_sequences` each of their steps."""

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int | None, int],
        space: object = "quick",
        mask_value: float | None = None,
        one_hot: bool = False,
        metrics: Sequence[Any] = ("accuracy",),
        name: str | None = None,
        tunable: bool = True,
    ) -> None:
        self.num_classes = check_integer("num_classes", num_classes, 2)
        self.one_hot = check_flag("one_hot", one_hot)
        super().__init__(input_shape, space, mask_value, metrics, name, tunable)
        if self.is_binary:
            self.metrics = tuple(map(_of_one_probability, self.metrics))

    @classmethod
    def from_data(cls, train: Any, space: object = "quick", **kwargs: Any) -> Self:
        """Makes a model for the classes and features of the training data.

        Args:
            train: `(x, y)`, with or without sample weights; a batched `tf.data.Dataset`; or a
                `keras.utils.PyDataset`. `x` has shape `(batch, time, features)`; `y` has a label for
                each sequence or for each step, see the class. A dataset is read once.
            space: Anything that `SearchSpace.load` takes.
            **kwargs: Further arguments of the class. Pass `num_classes` if the training data lack some
                classes.

        Raises:
            InvalidArgumentError: The data do not fit such a classification.

        Example:
            >>> import numpy as np
            >>> from recdrop_tune import SequenceClassifier, SequenceTagger
            >>> x, y = np.zeros((3, 2, 5)), np.array([[0, 1], [2, 1], [0, 2]])
            >>> SequenceClassifier.from_data((x, y[:, 0]), num_classes=3).num_classes
            3
            >>> SequenceTagger.from_data((x, y), mask_value=0.0).num_classes
            3
        """
        classes = kwargs.pop("num_classes", None)
        features, num_classes, one_hot = _infer_task(train, cls, classes)
        arguments = {"input_shape": (None, features), "one_hot": one_hot, **kwargs}
        return cls(num_classes, space=space, **arguments)

    @property
    def is_binary(self) -> bool:
        """Whether the model returns only the probability of class 1, as Keras's binary metrics require."""
        return self.num_classes == 2 and not self.one_hot

    @property
    def loss(self) -> Any:
        """Cross-entropy, for two classes, for one-hot or for integer targets."""
        if self.is_binary and self.return_sequences:
            # For labels (batch, time) the default axis is time: a mean over all steps ignores the mask.
            return keras.losses.BinaryCrossentropy(axis=())
        if self.is_binary:
            return "binary_crossentropy"
        return "categorical_crossentropy" if self.one_hot else "sparse_categorical_crossentropy"

    def head(self, features: Any) -> Any:
        """Maps the last axis to probabilities: from units to `num_classes`, or to one."""
        units, activation = (1, "sigmoid") if self.is_binary else (self.num_classes, "softmax")
        # Always float32: a softmax in half precision loses small probabilities.
        return keras.layers.Dense(units, activation=activation, dtype="float32")(features)


def _of_one_probability(metric: Any) -> Any:
    """Returns the metric that fits one probability for two classes."""
    # Without a threshold, Keras's F1 predicts the largest of all columns: here there is only one.
    bare = metric.replace("_", "").lower() if isinstance(metric, str) else ""
    if bare in ("f1score", "fbetascore"):
        kind = keras.metrics.F1Score if bare == "f1score" else keras.metrics.FBetaScore
        return kind(threshold=0.5, name=metric)
    if bare == "sparsecategoricalaccuracy":
        return keras.metrics.BinaryAccuracy(name=metric)
    if isinstance(metric, keras.metrics.FBetaScore) and metric.threshold is None:
        return type(metric).from_config({**metric.get_config(), "threshold": 0.5})
    if type(metric) is keras.metrics.SparseCategoricalAccuracy:
        return keras.metrics.BinaryAccuracy(name=metric.name, dtype=metric.dtype)
    return metric


@final
class SequenceClassifier(AbstractLabelModel):
    """Classifies whole sequences: recurrent layers with the sampled dropout, then a softmax or a sigmoid.

    Every layer of the stack has the same dropout, drawn from the space. The model takes sequences of
    shape `(batch, time, features)` and returns probabilities of shape `(batch, num_classes)`. For the labels
    0 and 1 it returns only the probability of 1, of shape `(batch, 1)`, as Keras's binary metrics (`AUC`,
    `Precision`, `Recall`) require. Targets are integers of shape `(batch,)` or `(batch, 1)`, or one-hot rows.

    Args:
        num_classes: Number of classes, 2 or more.
        one_hot: Whether targets are one-hot, of shape `(batch, num_classes)`, rather than integers.

    For `input_shape`, `space`, `mask_value`, `metrics`, `name` and `tunable` see `AbstractSequenceModel`.

    Raises:
        InvalidArgumentError: An argument has a wrong value.

    Example:
        >>> import keras_tuner
        >>> from recdrop_tune import SequenceClassifier
        >>> hypermodel = SequenceClassifier(10, (None, 8), space="quick")
        >>> hypermodel.build(keras_tuner.HyperParameters()).output_shape
        (None, 10)
    """


@final
class SequenceTagger(AbstractLabelModel):
    """Labels every step: recurrent layers with the sampled dropout, then a softmax or a sigmoid at each.

    The model takes sequences of shape `(batch, time, features)` and returns probabilities of shape
    `(batch, time, num_classes)`; for the labels 0 and 1 only that of 1, of shape `(batch, time, 1)`.
    With `mask_value`, padded steps count neither in the loss nor in Keras's mean metrics (such as accuracy).
    Their label must still be valid; in one-hot targets it can be a row of zeros. Other metrics (`AUC`,
    `Precision`) ignore masks and count padded steps.

    Args:
        num_classes: Number of classes, 2 or more.
        mask_value: Steps whose features all have this value are padding; `None` for no padding.
        one_hot: Whether targets are one-hot, of shape `(batch, time, num_classes)`, rather than
            integers of shape `(batch, time)` or `(batch, time, 1)`.

    For `input_shape`, `space`, `metrics`, `name` and `tunable` see `AbstractSequenceModel`.

    Raises:
        InvalidArgumentError: An argument has a wrong value.

    Example:
        >>> import keras_tuner
        >>> from recdrop_tune import SequenceTagger
        >>> hypermodel = SequenceTagger(5, (None, 8), mask_value=0.0)
        >>> hypermodel.build(keras_tuner.HyperParameters()).output_shape
        (None, None, 5)
    """

    return_sequences = True


# The classes of data.


def _infer_task(
    train: Any, model: type[AbstractLabelModel], num_classes: int | None
) -> tuple[int, int, bool]:
    """Returns the number of features, the number of classes, and whether the targets are one-hot."""
    fix = f"Pass {model.__name__}(num_classes, input_shape) as the hypermodel"
    check_ends(train, "the labels are counted", fix)
    features: int | None = None
    widths: set[int | None] = set()
    labels: set[int] = set()
    for x, y in batches(train):
        features = features or features_of(x, y, isinstance(train, list | tuple))
        width, new = _read_targets(np.asarray(y), x.shape[1] if model.return_sequences else None)
        widths.add(width)
        labels |= new
    if features is None or len(widths) != 1:
        one_form = "batches with targets of one form" if widths else "at least one batch"
        raise unusable(one_form, train)
    width = widths.pop()
    if width is None:
        return features, _count(labels, num_classes), False
    if num_classes not in (None, width):
        raise _bad_targets(f"{num_classes} columns, not {width}", "Leave out `num_classes`.")
    return features, width, True


def _read_targets(y: Any, steps: int | None) -> tuple[int | None, set[int]]:
    """Returns the width of one-hot targets, or `None` and the set of integer labels.

    `steps` are those of a sequence if each has a class, `None` if each sequence has one.
    """
    if y.dtype.kind not in "biuf":
        raise _bad_targets(f"numbers, not {y.dtype}", _NUMBER)
    labelled = 1 if steps is None else 2  # dimensions of integer labels
    if y.ndim == labelled + 1 and y.shape[-1] > 1 and steps in (None, y.shape[1]):
        if not is_one_hot(y, padded=steps is not None):
            raise _bad_targets(f"rows that sum to 1 in one-hot targets of shape {y.shape}", REMEDY)
        return int(y.shape[-1]), set()
    if y.ndim not in (labelled, labelled + 1) or steps not in (None, *y.shape[1:2]):
        each = "sequence" if steps is None else f"of {steps} steps"
        raise _bad_targets(f"one class for each {each}, not shape {y.shape}", REMEDY)
    labels = np.unique(y)
    if not np.all(np.isfinite(labels)) or np.any(labels != np.floor(labels)):
        raise _bad_targets("whole numbers or one-hot rows, not fractions", REMEDY)
    if np.any(labels < 0):
        raise _bad_targets(f"no label below 0, not {int(labels[0])}", _NUMBER)
    return None, {int(label) for label in labels}


_NUMBER = "Number the classes with `np.unique(y, return_inverse=True)[1]`."


def _count(labels: set[int], num_classes: int | None) -> int:
    """Counts the classes, and refuses labels with gaps, which are usually a mistake."""
    number = max(labels, default=-1) + 1
    if num_classes is not None and num_classes >= number:
        return num_classes
    if num_classes is not None or len(labels) != number or number < 2:
        shown = sorted(labels)[:10]
        raise _bad_targets(
            f"labels 0 ... {num_classes - 1 if num_classes else 'K-1'}, each of at least 2 classes "
            f"there, not {shown}{' ...' if len(labels) > len(shown) else ''}",
            "Number the classes with `np.unique(y, return_inverse=True)[1]`, or pass `num_classes`.",
        )
    return number


def _bad_targets(expected: str, fix: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        "Invalid value received for argument `y`. Expected integer labels 0 ... K-1 or one-hot rows: "
        f"{expected}. {fix}"
    )
