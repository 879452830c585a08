"""The weights of classes and the groups of samples, which settings of a training leave to its data."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.hypermodels import (
    LanguageModel,
    SequenceRegressor,
    batches,
    check_ends,
    is_one_hot,
)
from recdrop_tune.search.data_arguments import is_of_torch
from recdrop_tune.search.settings import Training
from recdrop_tune.tuner import GroupedFolds, check_folds

Array = Any
"""A NumPy array."""


def of_data(training: Training, train: Any, hypermodel: Any) -> Training:
    """Returns settings in which the weights of classes are numbers, and folds know of their groups.

    Args:
        training: The settings.
        train: The training data.
        hypermodel: The hypermodel.

    Raises:
        InvalidArgumentError: There are no classes to be weighted, or groups that no fold keeps together, or
            more folds than samples.
    """
    if isinstance(train, list | tuple):
        check_folds(training.cv, train[0])
    if training.class_weight is not None:
        weights = _class_weights(training, train, hypermodel)
        training = replace(
            training, class_weight=None, fit={**training.fit, "class_weight": weights}
        )
    if training.groups is None:
        return training
    if training.cv is None:
        raise invalid_argument(
            "groups",
            expected="None without `cv`, whose folds they keep apart",
            received=type(training.groups),
            fix="Pass both: rdt.Training(cv=5, groups=...).",
        )
    grouped = GroupedFolds(training.cv, np.asarray(training.groups))
    if isinstance(train, list | tuple):
        _check_groups(grouped, keras.tree.flatten(train[1])[0])
    return replace(training, cv=grouped, groups=None)


def _check_groups(grouped: GroupedFolds, y: Any) -> None:
    """Raises where groups do not fit the samples, or folds do not keep them together."""
    groups = grouped.groups
    if groups.ndim != 1 or len(groups) != len(y):
        raise invalid_argument(
            "groups",
            expected=f"a group for each of {len(y)} samples",
            received=f"groups of shape {groups.shape}",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # What is warned of is found below.
            parts = list(grouped.split(np.zeros((len(y), 1)), np.asarray(y)))
        apart = [not set(groups[train]) & set(groups[test]) for train, test in parts]
    except (TypeError, ValueError) as error:
        raise invalid_argument(
            "groups", expected="groups that the folds can be made of", received=str(error)
        ) from error
    if not all(apart):
        raise invalid_argument(
            "cv",
            expected="a number of folds, or a splitter that takes groups, beside `groups`",
            received=grouped.cv,
            fix="Such as sklearn.model_selection.GroupKFold(5): this one has a group on both sides.",
        )


def _class_weights(training: Training, train: Any, hypermodel: Any) -> dict[int, float]:
    given: Any = training.class_weight
    if "class_weight" in training.fit:
        raise invalid_argument("class_weight", expected="it once", received="it in `fit` too")
    if isinstance(train, list | tuple) and len(train) > 2 and train[2] is not None:
        raise invalid_argument(
            "class_weight",
            expected="None beside weights of the samples, for Keras takes one of the two",
            received=given,
            fix="Multiply them: (x, y, sample_weight * weights[y]).",
        )
    if is_of_torch(train, "DataLoader"):
        raise invalid_argument(
            "class_weight",
            expected="None with a torch DataLoader, for which Keras has no weights of classes",
            received=given,
            fix="Have it give a weight with each sample: (x, y, weights[y]).",
        )
    check_ends(train, "the classes are counted", "Pass weights by label")
    of_steps = getattr(hypermodel, "return_sequences", False)
    if of_steps or isinstance(hypermodel, SequenceRegressor | LanguageModel):
        raise _no_labels(type(hypermodel).__name__)
    counts: Counter[int] = Counter()
    for _, y in batches(train):
        counts.update(_labels(y).tolist())
    if given == "balanced":
        total = sum(counts.values()) / len(counts)
        return {label: total / count for label, count in sorted(counts.items())}
    unknown = sorted(given.keys() - counts.keys())
    if unknown:
        raise invalid_argument(
            "class_weight",
            expected=f"labels of the training data: {', '.join(map(str, sorted(counts)[:10]))}",
            received=f"{', '.join(map(str, unknown))}",
        )
    return dict(given)


def _labels(y: Any) -> Array:
    """Returns the label of each sequence."""
    if keras.tree.is_nested(y):
        raise invalid_argument(
            "class_weight",
            expected="None with several outputs, for which Keras has no weights of classes",
            received=f"targets in a {type(y).__name__}",
            fix="Give weights of the samples with the data, for each output: "
            "(x, y, {'output': weights[y['output']]}).",
        )
    y = np.asarray(y)
    if y.dtype.kind not in "biuf" or not np.isfinite(y).all():
        raise _no_labels(f"targets of type {y.dtype}")
    if y.ndim == 2 and y.shape[1] > 1 and is_one_hot(y):
        return y.argmax(axis=1)
    if y.ndim > 2 or y.shape[1:] not in ((), (1,)) or np.any(y != np.floor(y)):
        raise _no_labels(f"targets of shape {y.shape}")
    return y.reshape(-1).astype("int64")


def _no_labels(received: str) -> InvalidArgumentError:
    return invalid_argument(
        "class_weight",
        expected="None where sequences have no label, or their steps have one each",
        received=received,
        fix="Give weights for each step with the data: (x, y, weights[y]).",
    )
