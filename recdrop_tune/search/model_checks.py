"""Checks data against a Keras model: what its input, its batches and its loss take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import InvalidArgumentError, invalid_argument, warn_caller
from recdrop_tune.hypermodels import ROWS_ARE_STEPS, ExistingModel, check_ends, is_one_hot
from recdrop_tune.models import ignored_class, walk

Array = Any
"""A NumPy array."""

_ARGUMENTS = {"training": "train", "validation": "validation", "test": "test"}


ERRORS = ("mean_squared_error", "mean_absolute_error", "huber")
_ALIASES = {"mse": "mean_squared_error", "mae": "mean_absolute_error", "acc": "accuracy"}
_SCORING = ("compile", "compute_loss", "compute_metrics", "evaluate", "test_step")


def check_model_data(
    model: Any, made: Mapping[str, Any], batch_size: int, fit: Mapping[str, Any]
) -> None:
    """Raises where arrays are not what a compiled Keras model of the caller's takes.

    Keras says so in words of its own when the first trial trains, or not at all: a label that the model has
    no output for counts as none on some backends, and a target of another shape is repeated until it fits.
    Looked at are models with one input and one output; losses of the caller's own may take anything, and
    `Sequential` models any number of steps. Of those without an `Input` only the targets are looked at.

    Args:
        model: What the caller has given as the model; anything but a Keras model, or an `ExistingModel` of
            one, is left alone.
        made: The data, by what they are for.
        batch_size: Samples a batch.
        fit: Further arguments of `Model.fit`.

    Raises:
        InvalidArgumentError: They are not, or a dataset has no end.
    """
    if isinstance(model, ExistingModel):
        model = model.template.build()
    if not isinstance(model, keras.Model) or not (
        model.built or isinstance(model, keras.Sequential)
    ):
        return
    shapes: list[Any] = [getattr(model, f"{end}_shape", None) for end in ("input", "output")]
    takes, gives = shapes
    for name, argument in _ARGUMENTS.items():
        data: Any = made.get(name)
        if not isinstance(data, list | tuple):
            _check_dataset(argument, data, takes, fit)
            continue
        if _is_shape(takes):
            _check_text(argument, data[0], model)
            _check_inputs(argument, data[0], takes)
            if any(getattr(layer, "stateful", False) is True for layer in walk(model)):
                _check_batches(argument, data[0], takes[0], batch_size)
        put_out = gives if model.built else _output_of(model, data[0])
        if _is_shape(put_out) and is_scored_as_usual(model):
            _check_targets(argument, data, put_out, model)


def _output_of(model: Any, x: Any) -> Any:
    """Returns the shape that a `Sequential` model that is not built puts out; `None` if it does not say."""
    try:
        return model.compute_output_shape((None, *x.shape[1:]))
    except Exception:  # Of several inputs, say; or a layer of the caller's does not know.
        return None


def _check_dataset(argument: str, data: Any, takes: Any, fit: Mapping[str, Any]) -> None:
    """Raises for a dataset without an end, with which an epoch has none, and for one of single samples."""
    steps = "steps_per_epoch" if argument == "train" else "validation_steps"
    if steps not in fit:
        try:
            check_ends(data, "an epoch", f"Give `training=rdt.Training(fit={{'{steps}': 100}})`")
        except InvalidArgumentError as error:
            raise error.renamed(argument) from None
    spec = getattr(data, "element_spec", None)
    x: Any = spec[0] if isinstance(spec, tuple) else None
    rank = getattr(getattr(x, "shape", None), "rank", None)
    if rank == 2 and _is_shape(takes) and len(takes) == 3 and takes[-1] != 1:
        raise invalid_argument(
            argument,
            expected="batches of shape (batch, steps, features)",
            received=f"shape {tuple(x.shape)}",
            fix="Batch the dataset with `.batch(32)`.",
        )


def _is_shape(shape: Any) -> bool:
    """Says whether a shape is one, and not one for each of several inputs or outputs."""
    return isinstance(shape, tuple) and all(isinstance(each, int | None) for each in shape)


def _check_text(argument: str, x: Any, model: Any) -> None:
    kinds = {each.dtype for each in keras.tree.flatten(getattr(model, "inputs", None) or [])}
    if isinstance(x, np.ndarray) and x.dtype.kind in "OSUT" and kinds and "string" not in kinds:
        raise invalid_argument(
            argument,
            expected=f"numbers in x, for the model takes {', '.join(sorted(kinds))}",
            received=f"text, of type {x.dtype}",
            fix="Make numbers of them: `x.astype('float32')`.",
        )


def _check_inputs(argument: str, x: Any, takes: Any) -> None:
    numbers = isinstance(x, np.ndarray) and x.dtype.kind in "biuf"
    if not numbers or len(takes) != 3 or takes[-1] is None or x.ndim > 3:
        return
    # Keras adds an axis of 1 itself.
    if takes[-1] == (x.shape[-1] if x.ndim == 3 else 1):
        return
    raise invalid_argument(
        argument,
        expected=f"x of shape (samples, steps, features) with {_features(takes[-1])}, as the model takes it",
        received=f"x of shape {x.shape}",
        fix=ROWS_ARE_STEPS if x.ndim == 2 else "",
    )


def _features(number: int) -> str:
    return f"{number} feature{'' if number == 1 else 's'}"


def _check_batches(argument: str, x: Any, size: int | None, batch_size: int) -> None:
    """Raises where stateful layers were made for batches of another size."""
    if size is None or not hasattr(x, "shape"):
        return
    if batch_size != size:
        raise invalid_argument(
            "batch_size",
            expected=f"{size}, for the model is stateful and takes batches of this size",
            received=batch_size,
        )
    if len(x) % size:
        raise invalid_argument(
            argument,
            expected=f"whole batches of {size} samples, for the model is stateful",
            received=f"{len(x)} samples",
            fix=f"Leave out {len(x) % size}: `x[:{len(x) - len(x) % size}]`, and of y too.",
        )


def _check_targets(argument: str, data: Any, gives: Any, model: Any) -> None:
    y, kind = data[1], kind_of(model.loss)
    if not isinstance(y, np.ndarray) or y.dtype.kind not in "biuf" or not y.size:
        return
    if kind in ERRORS and argument == "train":
        _check_shape(y, gives)
    elif kind == "categorical_crossentropy":
        _check_rows(argument, y, gives)
    elif kind == "sparse_categorical_crossentropy":
        _check_finite(argument, y)
        counted = _counted(data, ignored_class(model.loss), gives, model)
        _check_labels(argument, y, counted, gives)
    elif kind == "binary_crossentropy":
        _check_binary(argument, _counted(data, None, gives, model))


def _check_shape(y: Array, gives: Any) -> None:
    """Warns of numbers that Keras repeats until they have the shape of the output."""
    # Axes of 1 at the end Keras adds itself, and a model may take any number of steps.
    any_steps = (None, *gives[2:]) if len(gives) == 3 else gives[1:]
    shape, wanted = _without_ones(y.shape[1:]), _without_ones(any_steps)
    fits = len(shape) == len(wanted)
    if fits and all(known in (None, size) for size, known in zip(shape, wanted, strict=True)):
        return
    hint = ""
    if len(gives) == 3 and not shape:
        hint = " For one target a sequence the last recurrent layer has `return_sequences=False`."
    elif len(gives) == 2 and len(shape) == 1:
        hint = f" For {shape[0]} numbers a sequence the last layer is `Dense({shape[0]})`."
    written = ", ".join(["samples", *("any" if each is None else str(each) for each in any_steps)])
    warn_caller(
        f"The targets have the shape {y.shape}, and the model puts out ({written}). Keras may repeat the "
        f"one or the other until they fit, and such a loss means little.{hint}"
    )


def _without_ones(shape: Any) -> tuple[int | None, ...]:
    sizes = list(shape)
    while sizes and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)


def _check_rows(argument: str, y: Array, gives: Any) -> None:
    classes = gives[-1]
    if not classes or classes < 2 or y.ndim != len(gives) - 1:
        return
    raise invalid_argument(
        argument,
        expected="one-hot rows, which the loss categorical_crossentropy takes",
        received=f"labels of shape {y.shape}",
        fix="Compile the model with 'sparse_categorical_crossentropy', which takes labels; or make rows of "
        f"them, `keras.utils.to_categorical(y, {classes})`.",
    )


def _check_finite(argument: str, y: Array) -> None:
    """Raises for labels that are NaN: as a whole number, NaN is some class on some backends."""
    missing = int(np.sum(~np.isfinite(y)))
    if missing:
        raise invalid_argument(
            argument,
            expected="a label for each sequence, or step",
            received=f"{missing} that are infinite or not a number",
            fix="Leave out what has none, or give it the weight 0 and any label.",
        )


def _check_labels(argument: str, y: Array, counted: Array, gives: Any) -> None:
    classes = gives[-1]
    if y.ndim == len(gives) and 1 < y.shape[-1] == classes and is_one_hot(y, padded=True):
        raise invalid_argument(
            argument,
            expected="labels 0, 1, 2 ..., which the loss sparse_categorical_crossentropy takes",
            received=f"one-hot rows of shape {y.shape}",
            fix="Compile the model with 'categorical_crossentropy', which takes rows; or make labels of "
            "them, `y.argmax(axis=-1)`.",
        )
    if not classes or not counted.size or (counted.min() >= 0 and counted.max() < classes):
        return
    raise _wrong_labels(
        argument, f"labels 0 ... {classes - 1}, for the model has {classes} outputs", counted
    )


def _check_binary(argument: str, counted: Array) -> None:
    if counted.size and (counted.min() < 0 or counted.max() > 1):
        expected = "0 and 1, which the loss binary_crossentropy takes"
        raise _wrong_labels(argument, expected, counted)


def _wrong_labels(argument: str, expected: str, counted: Array) -> InvalidArgumentError:
    found = np.unique(counted)
    few = ", ".join(f"{label:g}" for label in found[:5])
    outputs = f"; {int(found[-1]) + 1} classes need as many outputs" if found[0] == 0 else ""
    return invalid_argument(
        argument,
        expected=expected,
        received=f"labels {few}{' ...' if len(found) > 5 else ''}",
        fix="Number the classes with `np.unique(y, return_inverse=True)[1]`, those of the training and the "
        f"validation data in one go{outputs}.",
    )


def _counted(data: Any, ignored: int | None, gives: Any, model: Any) -> Array:
    """Returns the targets that count in the loss, in a row: none where that is up to a mask."""
    y, *weight = data[1:]
    masks = (isinstance(each, keras.layers.Masking) or _masks_zero(each) for each in walk(model))
    if not np.all(np.isfinite(y)) or (len(gives) > 2 and any(masks)):
        return np.empty(0)
    counts = np.ones(y.shape, bool) if ignored is None else y != ignored
    if weight and weight[0] is not None:
        shape = np.shape(weight[0])
        if shape != y.shape[: len(shape)]:
            return np.empty(0)
        each = np.asarray(weight[0]).reshape(*shape, *[1] * (y.ndim - len(shape)))
        counts = counts & (each != 0)
    return y[counts]


def _masks_zero(layer: Any) -> bool:
    return getattr(layer, "mask_zero", False) is True


def is_scored_as_usual(model: Any) -> bool:
    """Says whether a compiled model's class leaves to Keras how it is scored."""
    kind = type(model)
    return model.compiled and all(
        getattr(kind, name) is getattr(keras.Model, name) for name in _SCORING
    )


def kind_of(loss: Any) -> str:
    """Returns Keras's name of a loss, by its name, its function or its class; empty for the caller's own.

    Example:
        >>> kind_of("mse"), kind_of(keras.losses.BinaryCrossentropy()), kind_of(lambda y, p: 0)
        ('mean_squared_error', 'binary_crossentropy', '')
    """
    if isinstance(loss, str):
        return _kind(loss)
    kind = loss if hasattr(loss, "__name__") else type(loss)
    return _kind(kind.__name__) if kind.__module__.startswith("keras.") else ""


def _kind(name: str) -> str:
    name = re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return _ALIASES.get(name, name)
