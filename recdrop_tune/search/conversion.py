"""Makes arrays of numbers of what data often come in: frames, series, tensors, lists, arrays of objects."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Number
from typing import Any

import numpy as np

Array = Any
"""A NumPy array."""

_LIBRARIES = ("tensorflow", "jax", "jaxlib", "torch")
"""Those whose tensors Keras takes, by the modules of their classes."""


def as_arrays(data: Any, own_model: bool) -> Any:
    """Returns data with arrays in the places of frames, tensors, lists of numbers and arrays of objects.

    The rows are taken in their order, whatever their index says. Datasets, arrays of numbers, and what no
    numbers can be made of, such as text, stay as they are.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)`; anything else is returned.
        own_model: Whether the model is the caller's, for which a list x is one array for each input, and not
            one for each sequence.

    Example:
        >>> as_arrays((np.array([[1, 2], [3, None]], dtype=object), [0, 1]), own_model=True)
        (array([[ 1.,  2.],
               [ 3., nan]]), array([0, 1]))
    """
    if not isinstance(data, list | tuple) or not data:
        return data
    x, *others = data
    return (_inputs(x, own_model), *(_targets(part, own_model) for part in others))


def _inputs(x: Any, own_model: bool) -> Any:
    if not isinstance(x, list | tuple) or own_model:
        return _part(x, own_model)
    # Each may be a frame, or a list of steps.
    return [_sequence(each) for each in x]


def _targets(part: Any, own_model: bool) -> Any:
    if isinstance(part, list) and part and all(isinstance(each, Number) for each in part):
        return np.asarray(part)
    return _part(part, own_model)


def _part(part: Any, own_model: bool) -> Any:
    if isinstance(part, Mapping):
        return {name: _part(each, own_model) for name, each in part.items()}
    if isinstance(part, list | tuple):
        return type(part)(_array(each) for each in part) if type(part) in (list, tuple) else part
    array = _array(part)
    if not _is_of_objects(array) or array.ndim != 1 or not all(map(_has_length, array)):
        return array
    sequences = [_sequence(each) for each in array]
    equal = len({np.shape(each) for each in sequences}) == 1
    return np.stack(sequences) if own_model and equal else sequences


def _sequence(part: Any) -> Any:
    if not isinstance(part, list | tuple):
        return _array(part)
    try:
        return _array(np.asarray(part))
    except ValueError:  # Its steps have unequal numbers of features.
        return part


def _array(part: Any) -> Any:
    """Returns a frame, a series, a tensor or an array of objects as an array of numbers, if it is one."""
    array = part.to_numpy() if hasattr(part, "to_numpy") else _of_tensor(part)
    if not _is_of_objects(array) or not all(map(_is_number, array.flat)):
        return array
    numbers = np.array(array.tolist())
    return numbers if numbers.dtype.kind in "biuf" else array.astype("float64")


def _of_tensor(part: Any) -> Any:
    """Returns a tensor of numbers as an array, for what looks at the data knows arrays alone."""
    library = type(part).__module__.partition(".")[0]
    if library not in _LIBRARIES or not hasattr(part, "__array__"):
        return part
    # One of torch's may have a gradient, or be on a device.
    held = part.detach().cpu() if library == "torch" else part
    try:
        array = np.asarray(held)
    except (TypeError, ValueError):  # A sparse one, or of a type that NumPy does not have.
        return part
    return array if array.dtype.kind in "biuf" else part


def _is_of_objects(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype == np.dtype(object) and array.size > 0


def _is_number(value: Any) -> bool:
    # What is missing is `None`, which becomes NaN.
    return value is None or isinstance(value, Number | np.bool_)


def _has_length(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes | Mapping)
