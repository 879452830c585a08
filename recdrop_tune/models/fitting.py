"""`fit`: Keras's `Model.fit`, which on TensorFlow reads arrays and starts steps in less time.

The batches and their numbers are Keras's own. What is saved is what Keras spends beside the steps: for a
small model that is more than half of an epoch.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np

MOST_BYTES = 2**30
"""Data of more bytes are left to Keras, for here they are in memory twice."""

_MOST_STEPS, _FEWEST_CALLS = 16, 4  # In one call; calls of an epoch.
_BATCH_SIZE = 32  # Keras's, where none is given.
_FEWEST_SAMPLES = 16  # Two orders of so many are not the same by chance.

_BATCH_METHODS = tuple(
    f"on_{kind}batch_{end}" for kind in ("", "train_", "test_") for end in ("begin", "end")
)
_signature = inspect.signature(keras.Model.fit)
_chosen: WeakKeyDictionary[Any, int] = WeakKeyDictionary()  # Steps in a call, by the model.


def fit(model: Any, *args: Any, **kwargs: Any) -> Any:
    """Fits a model as `model.fit` does, with the same numbers, and on TensorFlow in less time.

    - Keras makes a new pipeline of arrays for each epoch, with threads that cost more than a small
      model's steps. Here the batches are cut once, in the order that Keras would take them. Under a seed
      (`keras.utils.set_random_seed`) that is the same one in each epoch; without one nothing is cut, for then
      each epoch has its own.
    - Where no callback follows the batches, one call runs up to 16 of them (`steps_per_execution`), at least
      four calls an epoch. A model that was compiled with `steps_per_execution` keeps its own.

    Data that are no arrays, or more than 1 GiB, weights of classes, a `validation_split`, a number of steps,
    and a model that fits in a way of its own are left to Keras, as is everything on other backends.

    Args:
        model: A compiled `keras.Model`.
        *args: Arguments of `Model.fit`.
        **kwargs: The same.

    Returns:
        What `Model.fit` returns.

    Example:
        >>> history = fit(model, x, y, epochs=3, validation_data=(x_val, y_val), verbose=0)
    """
    if keras.backend.backend() != "tensorflow" or not _is_usual(model):
        return model.fit(*args, **kwargs)
    try:
        given = _signature.bind(model, *args, **kwargs).arguments
    except TypeError:
        return model.fit(*args, **kwargs)  # Keras says what is wrong.
    del given["self"]
    _choose_steps(model, given.get("callbacks"), _number_of_batches(given))
    return model.fit(**_with_training_batches(_with_validation_batches(given)))


def _is_usual(model: Any) -> bool:
    """Says whether it is Keras that fits the model, step by step in a graph, on one device."""
    methods = ("fit", "evaluate", "make_train_function", "make_test_function")
    own = any(getattr(type(model), name) is not getattr(keras.Model, name) for name in methods)
    if own or not model.compiled or model.run_eagerly:
        return False
    distribute = import_module("tensorflow").distribute
    return not distribute.has_strategy() and model.distribute_strategy is distribute.get_strategy()


# How many steps a call runs.


def follows_batches(callbacks: Any) -> bool:
    """Says whether a callback has a method for batches.

    One with an attribute `counts_steps` that is true copes with a call for several batches.
    """
    listed = getattr(callbacks, "callbacks", callbacks) or ()
    every = listed if isinstance(listed, Iterable) else [listed]
    return any(
        getattr(getattr(callback, name), "__func__", None)
        is not getattr(keras.callbacks.Callback, name)
        for callback in every
        if not getattr(callback, "counts_steps", False)
        for name in _BATCH_METHODS
    )


def _choose_steps(model: Any, callbacks: Any, batches: int) -> None:
    if model.steps_per_execution not in (1, _chosen.get(model)):
        return  # The user's own.
    several = 1 if follows_batches(callbacks) else min(_MOST_STEPS, batches // _FEWEST_CALLS)
    steps = max(1, several)
    if steps != model.steps_per_execution:
        _chosen[model] = model.steps_per_execution = steps
        model.train_function = model.test_function = model.predict_function = None


def _number_of_batches(given: Mapping[str, Any]) -> int:
    """Returns how many batches an epoch has; 0 where that is not known."""
    x = given.get("x")
    if given.get("steps_per_epoch") or given.get("validation_steps"):
        return 0  # The last call of an epoch would run too many of them.
    if isinstance(x, import_module("tensorflow").data.Dataset):
        return max(0, int(x.cardinality()))
    samples = _samples(_packed(given))
    samples = math.floor(samples * (1.0 - (given.get("validation_split") or 0.0)))
    return math.ceil(samples / (given.get("batch_size") or _BATCH_SIZE))


# The batches.


def _with_training_batches(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `fit` with the batches to train on in the place of their arrays."""
    left = ("class_weight", "validation_split", "steps_per_epoch")
    shuffle, packed = given.get("shuffle", True), _packed(given)
    samples = _samples(packed)
    if not samples or not isinstance(shuffle, bool) or any(given.get(name) for name in left):
        return given
    order = _order(samples) if shuffle else slice(None)
    if order is None:
        return given
    data = ("x", "y", "sample_weight", "batch_size")
    others = {name: value for name, value in given.items() if name not in data}
    size = given.get("batch_size") or _BATCH_SIZE
    return {**others, "x": _batches(packed, order, size), "shuffle": False}


def _with_validation_batches(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `fit` with the batches to validate on in the place of their arrays."""
    validation = given.get("validation_data")
    if not isinstance(validation, tuple) or not 1 < len(validation) < 4:
        return given
    packed = keras.utils.pack_x_y_sample_weight(*validation)
    if not _samples(packed) or given.get("validation_steps"):
        return given
    size = given.get("validation_batch_size") or given.get("batch_size") or _BATCH_SIZE
    return {**given, "validation_data": _batches(packed, slice(None), size)}


def _packed(given: Mapping[str, Any]) -> Any:
    return keras.utils.pack_x_y_sample_weight(
        given.get("x"), given.get("y"), given.get("sample_weight")
    )


def _samples(packed: Any) -> int:
    """Returns how many samples there are; 0 for what is not arrays of numbers of one length, or too large."""
    arrays = keras.tree.flatten(packed)
    usual = all(isinstance(each, np.ndarray) and each.dtype.kind in "fiub" for each in arrays)
    if not arrays or not usual or any(each.ndim == 0 for each in arrays):
        return 0
    if sum(each.nbytes for each in arrays) > MOST_BYTES:
        return 0
    lengths = {len(each) for each in arrays}
    return lengths.pop() if len(lengths) == 1 else 0


def _order(samples: int) -> Any:
    """Returns the order that Keras takes the samples in; `None` where each epoch has another one.

    Keras shuffles inside of a dataset's `map`, whose random numbers begin anew with each epoch: TensorFlow
    derives them from the global seed, if there is one, and from the place of the operation in its graph. So
    the same graph is made here.
    """
    tf = import_module("tensorflow")
    if samples < _FEWEST_SAMPLES:
        return None

    def permutation(_: Any) -> Any:
        return tf.random.shuffle(tf.range(samples, dtype=tf.int64))

    dataset = tf.data.Dataset.range(1).map(permutation)
    first, second = (next(iter(dataset)).numpy() for _ in range(2))
    return first if np.array_equal(first, second) else None


def _batches(packed: Any, order: Any, size: int) -> Any:
    """Cuts arrays into batches.

    Args:
        packed: The arrays, each of shape `(samples, ...)`.
        order: Indices of the samples, or a slice.
        size: Samples of a batch.

    Returns:
        A `tf.data.Dataset` of batches whose number is known, and the size of one is not, as in Keras's.
    """
    tf = import_module("tensorflow")
    samples = _samples(packed)
    whole = samples // size
    arrays = keras.tree.map_structure(_in_floatx, keras.tree.lists_to_tuples(packed))
    arrays = keras.tree.map_structure(lambda array: array[order], arrays)

    def full(array: Any) -> Any:
        return array[: whole * size].reshape((whole, size, *array.shape[1:]))

    first = tf.data.Dataset.from_tensor_slices(keras.tree.map_structure(full, arrays))
    last = keras.tree.map_structure(lambda array: array[whole * size :], arrays)
    # Also where it is empty, so that the shape has no size of a batch: one compiled model then takes all.
    rest = tf.data.Dataset.from_tensors(last).take(1 if samples % size else 0)
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False  # They copy the arrays.
    return first.concatenate(rest).with_options(options)


def _in_floatx(array: Any) -> Any:
    """Returns an array in the type in which Keras hands it to a model."""
    floatx = keras.config.floatx()
    return array.astype(floatx) if array.dtype.kind == "f" and array.dtype != floatx else array
