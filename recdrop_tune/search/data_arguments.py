"""Turns training and validation data, in any of the usual forms, into arguments of `Model.fit`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import invalid_argument

_FORMS = "(x, y) or (x, y, sample_weight) arrays, a tf.data.Dataset or a keras.utils.PyDataset"


def data_of(given: Any) -> Any:
    """Returns data, or what a function that was given in their place makes."""
    # Not whatever can be called: models can.
    functions = (FunctionType, MethodType, BuiltinFunctionType, partial)
    return given() if isinstance(given, functions) else given


def fit_arguments(train: Any, validation: Any, batch_size: int) -> dict[str, Any]:
    """Returns the arguments of `Model.fit` that hand it the data.

    Args:
        train: `(x, y)`, `(x, y, sample_weight)`, a `tf.data.Dataset`, a `keras.utils.PyDataset` or a
            torch `DataLoader`. Datasets make their own batches.
        validation: The same, or `None`.
        batch_size: Samples a batch, for arrays.

    Returns:
        Keyword arguments.

    Raises:
        InvalidArgumentError: The data have another form, or their parts another length.
    """
    arguments: dict[str, Any] = {}
    if _is_arrays("train", train):
        arguments |= dict(zip(("x", "y", "sample_weight"), train, strict=False))
        arguments["batch_size"] = batch_size
    else:
        arguments["x"] = train
        if not isinstance(train, keras.utils.PyDataset):
            # Keras shuffles the batches of a `PyDataset` only; of others it warns that it cannot.
            arguments["shuffle"] = False
    if validation is not None:
        arrays = _is_arrays("validation", validation)
        arguments["validation_data"] = tuple(validation) if arrays else validation
        if arrays:
            arguments["validation_batch_size"] = batch_size
    return arguments


def check_data(argument: str, data: Any) -> None:
    """Raises unless data have one of the usual forms, or are `None`.

    Raises:
        InvalidArgumentError: They have another form, or their parts another length.
    """
    if data is not None:
        _is_arrays(argument, data)


def check_finite(data: Mapping[str, Any], own_model: bool) -> None:
    """Looks for NaN and infinity in the inputs: one of them makes every trial fail, whatever it tries.

    Args:
        data: Data by the names of the arguments. Datasets are not read.
        own_model: Whether the model is the caller's own. It may know what to do with them.

    Raises:
        InvalidArgumentError: There are some, and the model is not the caller's own.
    """
    for argument, given in data.items():
        x = given[0] if isinstance(given, tuple | list) else None
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or np.isfinite(_total(x)):
            continue
        places = np.argwhere(~np.isfinite(x))
        if not len(places):  # The sum alone was too large.
            continue
        first = ", ".join(map(str, places[0]))
        error = invalid_argument(
            argument,
            expected="finite inputs",
            received=f"{len(places)} that are infinite or not a number, the first at x[{first}]",
            fix="Replace them, for example with `np.nan_to_num(x)`, or leave out the sequences that have "
            "some. A step that is missing is best padded and masked.",
        )
        if not own_model:
            raise error
        warnings.warn(
            f"{error} With a model that does not mask them every trial fails.", stacklevel=5
        )


def _total(x: Any) -> Any:
    # One number, where `np.isfinite(x)` would take a quarter of the memory of the data.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sum(x, dtype=np.float64)


def _is_arrays(argument: str, data: Any) -> bool:
    """Says whether data are arrays rather than a dataset, and checks them."""
    if isinstance(data, tuple | list):
        if len(data) not in (2, 3) or any(part is None for part in data[:2]):
            raise invalid_argument(argument, expected=_FORMS, received=_form(data))
        _check_lengths(argument, data)
        return True
    if _is_dataset(data):
        return False
    raise invalid_argument(
        argument,
        expected=_FORMS,
        received=_form(data),
        fix="Every trial reads the data anew, so a generator cannot serve.",
    )


def _check_lengths(argument: str, parts: Any) -> None:
    if any(
        isinstance(part, list) and not hasattr(next(iter(part), None), "shape") for part in parts
    ):
        raise invalid_argument(
            argument,
            expected=_FORMS,
            received=_form(parts),
            fix="Make arrays of Python lists with `np.asarray(...)`.",
        )
    lengths = {len(part) for part in parts if getattr(part, "shape", None)}
    if len(lengths) > 1 or 0 in lengths:
        raise invalid_argument(
            argument,
            expected="as many targets (and weights) as samples, at least one",
            received=_form(parts),
        )


def _is_dataset(data: Any) -> bool:
    # By their marks, so that neither TensorFlow nor torch is imported for the asking.
    return (
        isinstance(data, keras.utils.PyDataset)
        or hasattr(data, "element_spec")
        or type(data).__module__.startswith("torch.utils.data")
    )


def _form(data: Any) -> Any:
    """Describes data without printing them."""
    if not isinstance(data, tuple | list):
        return type(data).__name__
    return tuple(getattr(part, "shape", type(part).__name__) for part in data)
