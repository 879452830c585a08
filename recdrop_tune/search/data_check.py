"""Checks data against a model by running it once, and completes settings of the training by the data."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from recdrop_tune.catalog import MILLISECONDS
from recdrop_tune.errors import InvalidArgumentError, invalid_argument, plain, undecorated
from recdrop_tune.hypermodels import (
    LanguageModel,
    SequenceRegressor,
    batches,
    check_ends,
    is_endless,
    is_one_hot,
)
from recdrop_tune.kernels import mask_of
from recdrop_tune.search.settings import Training
from recdrop_tune.tuner import GroupedFolds, check_folds

Array = Any
"""A NumPy array."""

_STEPS = ("train_step", "test_step", "compute_loss")

_REPORTING = ("fit", "train_step", "test_step", "compute_metrics")
"""The methods of a model that report metrics."""

_NUMBER = "Number them with `np.unique(y, return_inverse=True)[1]`, in all data together."

_REPEATS_TARGETS = {
    "categoricalcrossentropy",
    "categoricalfocalcrossentropy",
    "cosinesimilarity",
    "huber",
    "kldivergence",
    "logcosh",
    "meanabsoluteerror",
    "meanabsolutepercentageerror",
    "meansquarederror",
    "meansquaredlogarithmicerror",
    "poisson",
}
"""Losses of Keras's whose targets have the shape of the output, and which repeat smaller ones silently."""


def check_data(
    parts: Mapping[str, Any], model: keras.Model, batch_size: int, fit: Mapping[str, Any]
) -> None:
    """Raises if Keras refuses a few samples of the data, or would train on them silently in a wrong way."""
    shapes = [getattr(tensor, "shape", (None,)) for tensor in getattr(model, "inputs", None) or ()]
    # A stateful model has to get batches of its size.
    size = batch_size if any(shape and shape[0] is not None for shape in shapes) else None
    for key, part in parts.items():
        if part is None:
            continue
        name = "train" if key == "training" else key
        check_end(name, part, fit)
        if any(getattr(type(model), step) is not getattr(keras.Model, step) for step in _STEPS):
            continue  # Its own step may do anything with the data.
        x, y, weight = _telling_batch(part, size)
        try:
            # Keras does not mix arrays with tensors.
            predicted = model(
                keras.tree.map_structure(keras.ops.convert_to_tensor, x), training=False
            )
            _check_targets(name, y, weight, predicted, model.loss)
            computed = model.compute_loss(x, y, predicted, weight, training=False)
            model.compute_metrics(x, y, predicted, weight)
            loss = float(keras.ops.convert_to_numpy(computed))
        except InvalidArgumentError:
            raise
        except Exception as error:  # From Keras, the backend or user-defined layers.
            found = keras.tree.map_structure(lambda array: getattr(array, "shape", None), (x, y))
            raise InvalidArgumentError(
                f"The model does not take the data of `{name}`: x and y of a batch have the shapes "
                f"{found}, the input of the model {getattr(model, 'input_shape', 'unknown')}, its loss "
                f"is {loss_name(model.loss)}. {type(error).__name__}: {plain(undecorated(str(error)))}"
            ) from error
        if not np.isfinite(loss):
            bad = [
                argument
                for argument, value in (("x", x), ("y", y), ("sample_weight", weight))
                if not _is_finite(value)
            ]
            raise invalid_argument(
                name,
                expected="data with a finite loss",
                found=f"NaN or infinity in {' and '.join(bad)}" if bad else f"a loss of {loss}",
                fix="Leave these samples out, or fill them in: with them every training fails.",
            )


def check_end(name: str, part: Any, fit: Mapping[str, Any]) -> None:
    """Raises for an infinite dataset, because the first epoch would never end."""
    steps = "steps_per_epoch" if name == "train" else "validation_steps"
    if is_endless(part) and steps not in fit:
        raise invalid_argument(
            name,
            expected=f"data with an end, or `training=rdt.Training(fit={{'{steps}': 100}})`",
            received=type(part),
        )


def reported_metrics(model: keras.Model) -> set[str] | None:
    """Returns what a checked model reports of the training data; None if only a training tells."""
    if any(getattr(type(model), each) is not getattr(keras.Model, each) for each in _REPORTING):
        return None
    return {"loss", MILLISECONDS, *model.get_metrics_result()}


def loss_name(loss: Any) -> str:
    """Names a loss, or all of several, as Keras names its own: `"mse"` is `mean_squared_error`."""
    named = [keras.losses.get(part) for part in keras.tree.flatten(loss)]
    names = (getattr(part, "name", None) or getattr(part, "__name__", "") for part in named)
    return ", ".join(map(str, names))


def is_of_keras(loss: Any) -> bool:
    """Returns whether a loss is one of Keras's. A user-defined one may take anything."""
    return isinstance(loss, str) or getattr(loss, "__module__", "").startswith("keras.")


def _check_targets(name: str, y: Array, weight: Any, predicted: Any, loss: Any) -> None:
    """Raises for targets that a loss of Keras's accepts, but not as they are meant."""
    are_arrays = isinstance(y, np.ndarray) and hasattr(predicted, "shape")
    if not are_arrays or y.dtype.kind not in "biuf" or not is_of_keras(loss):
        return
    shape, size = tuple(predicted.shape), predicted.shape[-1]
    loss = keras.losses.get(loss)  # A function for a name.
    kind = getattr(loss, "__name__", type(loss).__name__).replace("_", "").lower()
    if "sparse" in kind or "binary" in kind:
        is_weighted = weight is not None and weight.shape == y.shape
        counted = y[np.asarray(weight) != 0] if is_weighted else y
        counted = counted[counted != getattr(loss, "ignore_class", None)]
        is_masked = mask_of(predicted) is not None and len(shape) > 2
        most = size - 1 if "sparse" in kind else 1
        if not is_masked and counted.size and (counted.min() < 0 or counted.max() > most):
            raise invalid_argument(
                name,
                expected=f"labels 0 ... {most}, as many as the model has outputs",
                found=f"labels {counted.min():g} ... {counted.max():g}",
                fix=_NUMBER,
            )
    elif kind in _REPEATS_TARGETS and _without_ones(y.shape) != _without_ones(shape):
        raise invalid_argument(
            name,
            expected=f"targets of shape {('samples', *shape[1:])}, as the model's output, for the loss "
            f"{loss_name(loss)}",
            found=f"targets of shape {('samples', *y.shape[1:])}",
            fix="For labels, compile the model with `sparse_categorical_crossentropy`."
            if y.dtype.kind in "iu" and len(y.shape) < len(shape)
            else "",
        )


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _is_finite(part: Any) -> bool:
    return all(
        np.isfinite(np.sum(array, dtype="float64"))
        for array in keras.tree.flatten(part)
        if array is not None and _kind(array) in "fiu"
    )


def _telling_batch(part: Any, size: int | None) -> Any:
    """Returns the samples most likely to fail: the first, those with NaN and the extreme targets."""
    if not isinstance(part, tuple):
        batch = part[0] if isinstance(part, keras.utils.PyDataset) else next(iter(part))
        if not isinstance(batch, list | tuple):
            batch = (batch,)
        return keras.tree.map_structure(_as_array, (*batch, None, None)[:3])
    rows = [np.arange(min(2, len(keras.tree.flatten(part[0])[0])))]
    for array in keras.tree.flatten(part):
        if _kind(array) == "f" and not np.isfinite(np.sum(array, dtype="float64")):
            is_bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
            rows.append(np.flatnonzero(is_bad)[:2])
    y = keras.tree.flatten(part[1])[0]
    if _kind(y) in "biuf" and y.size:
        flat = y.reshape(len(y), -1)
        rows.append(np.array([flat.min(axis=1).argmin(), flat.max(axis=1).argmax()]))
    chosen = np.unique(np.concatenate(rows))
    # JAX compiles each op anew for another number of samples.
    chosen = np.resize(chosen, size or max(4, len(chosen)))
    batch = keras.tree.map_structure(lambda array: _rows(array, chosen), part)
    return batch + (None,) * (3 - len(part))


def _as_array(part: Any) -> Any:
    array = None if part is None else np.asarray(part)
    return part if _kind(array) == "O" else array  # Keras takes text only as a tensor.


def _rows(part: Any, chosen: Array) -> Any:
    return part[chosen] if isinstance(part, np.ndarray) else keras.ops.take(part, chosen, axis=0)


def _kind(part: Any) -> str:
    return getattr(getattr(part, "dtype", None), "kind", "tensor")


# Class weights and groups.


def complete_training(training: Training, train: Any, hypermodel: Any) -> Training:
    """Returns settings with class weights as numbers, and with folds that know their groups."""
    if isinstance(train, tuple):
        check_folds(training.cv, train[0])
    if training.class_weight is not None:
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
    if isinstance(train, tuple):
        _check_groups(grouped, keras.tree.flatten(train[1])[0])
    return replace(training, cv=grouped, groups=None)


def _check_groups(grouped: GroupedFolds, y: Any) -> None:
    """Raises if groups do not fit the samples, or if a splitter ignores them."""
    groups = grouped.groups
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
        )


def _class_weights(weights: Any, train: Any, hypermodel: Any) -> dict[int, float]:
    check_ends(train, "class weights", "Give weights with the data: (x, y, weights[y])")
    has_labels = not getattr(hypermodel, "return_sequences", False) and not isinstance(
        hypermodel, SequenceRegressor | LanguageModel
    )
    counts: Counter[int] = Counter()
    for _, y in batches(train):
        labels = _labels(y) if has_labels else None
        if labels is None:
            raise invalid_argument(
                "class_weight",
                expected="None if there is not one label for each sequence",
                received=weights,
                fix="Give weights with the data: (x, y, weights[y]).",
            )
        counts.update(labels.tolist())
    if weights == "balanced":
        mean = sum(counts.values()) / len(counts)
        return {label: mean / number for label, number in sorted(counts.items())}
    if unknown := sorted(weights.keys() - counts.keys()):  # Keras ignores them.
        expected = f"labels of the training data: {', '.join(map(str, sorted(counts)[:10]))}"
        raise invalid_argument("class_weight", expected=expected, received=unknown)
    return dict(weights)


def _labels(y: Any) -> Any:
    """Returns the label of each sequence; None for other targets."""
    y = None if keras.tree.is_nested(y) else np.asarray(y)
    if y is None or y.dtype.kind not in "biuf":
        return None
    if y.ndim == 2 and y.shape[1] > 1 and is_one_hot(y):
        return y.argmax(axis=1)
    is_single = y.ndim == 1 or y.shape[1:] == (1,)
    return y.reshape(-1).astype("int64") if is_single and np.all(y == np.floor(y)) else None
