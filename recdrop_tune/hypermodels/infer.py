"""Chooses the hypermodel that suits the data."""

from __future__ import annotations

from typing import Any

import numpy as np

from recdrop_tune.catalog import TASK_NAMES
from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.hypermodels.data import first_batch, is_one_hot
from recdrop_tune.hypermodels.hypermodel import AbstractHyperModel
from recdrop_tune.hypermodels.language_model import LanguageModel
from recdrop_tune.hypermodels.sequence_labels import SequenceClassifier, SequenceTagger
from recdrop_tune.hypermodels.sequence_regressor import SequenceRegressor


def infer_hypermodel(
    train: Any, space: object, task: str | None = None, **arguments: Any
) -> AbstractHyperModel:
    """Makes the hypermodel that suits the training data, or that of a task.

    With `task="regression"`, targets with as many steps as x are predicted step by step. A forecast is
    predicted from the last state.
    """
    x, y = first_batch(train)
    kind = _class_for(x, np.asarray(y)) if task is None else _CLASSES[task]
    arguments = _arguments_of(kind, arguments)
    if task == "regression" and has_steps(x, y):
        arguments["each_step"] = True
    return kind.from_data(train, space=space, **arguments)


def _arguments_of(kind: _Class, given: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a task by the names of its hypermodel, and refuses those that it lacks."""
    if "loss" in given and kind is not SequenceRegressor:
        expected = "None: only a regression or a forecast takes a loss"
        raise invalid_argument("loss", expected=expected, received=given["loss"])
    arguments = dict(given)
    if "mask_value" in given and kind is LanguageModel:
        if arguments.pop("mask_value") != 0:
            expected = "0 or None for a language model, whose padding is token 0"
            raise invalid_argument("mask_value", expected=expected, received=given["mask_value"])
        arguments["mask_zero"] = True
    return arguments


def task_in_words(model: AbstractHyperModel, x: Any, y: Any, name: str | None = None) -> str:
    """Describes the task of a hypermodel, by its name if the user gave one, and what else it could be."""
    if isinstance(model, SequenceRegressor) and has_steps(x, y):
        if model.return_sequences:
            return "regression, with targets for each step"
        return 'forecast from the last state (to predict step by step: model="regression")'
    return name or next(task for task, kind in _CLASSES.items() if isinstance(model, kind))


def has_steps(x: Any, y: Any) -> bool:
    """Returns whether targets have as many steps as the sequences."""
    return np.ndim(y) in (2, 3) and np.ndim(x) == 3 and np.shape(y)[1] == np.shape(x)[1]


_Class = type[SequenceClassifier | SequenceRegressor | SequenceTagger | LanguageModel]

_CLASSES: dict[str, _Class] = {
    "classification": SequenceClassifier,
    "regression": SequenceRegressor,
    "tagging": SequenceTagger,
    "forecast": SequenceRegressor,
    "language_model": LanguageModel,
}


def _class_for(x: Any, y: Any) -> _Class:
    shape = tuple(getattr(x, "shape", ()))
    if len(shape) == 2 and shape == y.shape and y.dtype.kind in "iu":
        x = np.asarray(x)
        if x.dtype.kind in "iu" and np.array_equal(x[:, 1:], y[:, :-1]):
            return LanguageModel
        raise _ambiguous(x.shape, y, "y to be x one step later, where x holds tokens")
    if len(shape) != 3 or y.dtype.kind not in "biuf":
        return SequenceClassifier  # Its errors name what is wrong with x or y.
    if y.dtype.kind == "f" and not (np.all(np.isfinite(y)) and np.all(y == np.floor(y))):
        one_row = y.ndim == 2 and y.shape[1] > 1
        return SequenceClassifier if one_row and is_one_hot(y) else SequenceRegressor
    return _class_for_labels(shape, y)


def _class_for_labels(shape: tuple[int, ...], y: Any) -> _Class:
    """Returns the hypermodel for whole numbers. Floats can be counts: only their one-hot rows are labels."""
    integers = y.dtype.kind != "f"
    of_steps = y.shape[1:2] == shape[1:2]
    suits: list[_Class] = []
    if y.ndim == 1 or y.shape[1:] == (1,):
        suits = [SequenceClassifier] if integers else []
    elif y.ndim == 2:
        suits = [SequenceClassifier] if is_one_hot(y) else []
        suits += [SequenceTagger] if of_steps and integers else []
    elif y.ndim == 3 and of_steps:
        labels = integers if y.shape[2] == 1 else is_one_hot(y, padded=True)
        suits = [SequenceTagger] if labels else []
    if len(suits) == 1:
        return suits[0]
    raise _ambiguous(shape, y, "targets of one task: these could be labels or numbers")


def _ambiguous(shape: tuple[int, ...], y: Any, expected: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"Invalid value received for argument `train`. Expected {expected}. Received: x of shape "
        f"{shape}, y of shape {y.shape} and type {y.dtype}. Name the task: "
        f"`model=` one of {', '.join(map(repr, TASK_NAMES))}; or pass a build function for any other task."
    )
