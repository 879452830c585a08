"""Class weights and groups, which the training data complete."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import invalid_argument
from recdrop_tune.hypermodels import LanguageModel, SequenceRegressor, batches, is_one_hot
from recdrop_tune.search.data_check import check_end
from recdrop_tune.search.settings import Training
from recdrop_tune.tuner import GroupedFolds, check_folds


def complete_training(training: Training, train: Any, hypermodel: Any) -> Training:
    """Returns settings with class weights as numbers, and with folds that know their groups.

    Args:
        training: The settings.
        train: The training data.
        hypermodel: The hypermodel.

    Raises:
        InvalidArgumentError: Sequences have no labels to be weighted, the folds do not keep groups together,
            or there are more folds than samples.
    """
    is_arrays = isinstance(train, tuple)
    if is_arrays:
        check_folds(training.cv, train[0])
    if training.class_weight is not None:
        if "class_weight" in training.fit:
            raise invalid_argument(
                "class_weight", expected="one value", received="another one in `fit`"
            )
        weights = _class_weights(training.class_weight, train, hypermodel)
        fit = {**training.fit, "class_weight": weights}
        training = replace(training, class_weight=None, fit=fit)
    if training.groups is None:
        return training
    if training.cv is None:
        raise invalid_argument(
            "groups",
            expected="None without `cv`, whose folds keep groups together",
            received=type(training.groups),
            fix="Pass both: rdt.Training(cv=5, groups=...).",
        )
    grouped = GroupedFolds(training.cv, np.asarray(training.groups))
    if is_arrays:
        _check_groups(grouped, keras.tree.flatten(train[1])[0])
    return replace(training, cv=grouped, groups=None)


def _check_groups(grouped: GroupedFolds, y: Any) -> None:
    """Raises if groups do not fit the samples, or if a splitter ignores them."""
    groups = grouped.groups
    if groups.shape != (len(y),):
        raise invalid_argument(
            "groups",
            expected=f"a group for each of {len(y)} samples",
            received=f"groups of shape {groups.shape}",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The check below is stricter.
            parts = list(grouped.split(np.zeros((len(y), 1)), np.asarray(y)))
    except (TypeError, ValueError) as error:
        raise invalid_argument(
            "groups", expected="groups that can be split into folds", received=str(error)
        ) from error
    if any(set(groups[train]) & set(groups[test]) for train, test in parts):
        raise invalid_argument(
            "cv",
            expected="a number of folds, or a splitter that takes groups, with `groups`",
            received=grouped.cv,
            fix="Take sklearn.model_selection.GroupKFold(5), for example.",
        )


def _class_weights(given: Any, train: Any, hypermodel: Any) -> dict[int, float]:
    has_steps = getattr(hypermodel, "return_sequences", False)
    labels = None
    if not has_steps and not isinstance(hypermodel, SequenceRegressor | LanguageModel):
        check_end("train", train, {})
        counts: Counter[int] = Counter()
        for _, y in batches(train):
            labels = _labels(y)
            if labels is None:
                break
            counts.update(labels.tolist())
    if labels is None:
        raise invalid_argument(
            "class_weight",
            expected="None if there is not one label for each sequence",
            received=given,
            fix="Give weights with the data: (x, y, weights[y]).",
        )
    if given != "balanced":
        if unknown := sorted(given.keys() - counts.keys()):  # Keras ignores them.
            raise invalid_argument(
                "class_weight",
                expected=f"labels of the training data: {', '.join(map(str, sorted(counts)[:10]))}",
                received=unknown,
            )
        return dict(given)
    mean = sum(counts.values()) / len(counts)
    return {label: mean / number for label, number in sorted(counts.items())}


def _labels(y: Any) -> Any:
    """Returns the label of each sequence; None for other targets."""
    if keras.tree.is_nested(y):
        return None
    y = np.asarray(y)
    if y.dtype.kind in "biuf" and y.ndim == 2 and y.shape[1] > 1 and is_one_hot(y):
        return y.argmax(axis=1)
    is_single = y.ndim == 1 or y.shape[1:] == (1,)
    if y.dtype.kind not in "biuf" or not is_single or not np.all(y == np.floor(y)):
        return None
    return y.reshape(-1).astype("int64")
