"""Counts the batches of a `fit`, and cuts them once for TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import keras
import numpy as np

MOST_BYTES = 2**30
"""Larger data are left to Keras: here they are in memory twice."""

_BATCH_SIZE = 32  # Keras's default.
_FEWEST_SAMPLES = 16  # Two orders of 16 samples are not equal by chance.


def number_of_batches(given: Mapping[str, Any]) -> int:
    """Returns the number of batches in an epoch; 0 if unknown."""
    x = given.get("x")
    if given.get("steps_per_epoch") is not None or given.get("validation_steps") is not None:
        return 0  # The last call would run too many.
    on_tensorflow = keras.backend.backend() == "tensorflow"
    if on_tensorflow and isinstance(x, import_module("tensorflow").data.Dataset):
        return max(0, int(x.cardinality()))
    samples = _samples(_packed(given))
    samples = math.floor(samples * (1.0 - (given.get("validation_split") or 0.0)))
    return math.ceil(samples / (given.get("batch_size") or _BATCH_SIZE))


def with_training_batches(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `fit` with training batches instead of arrays."""
    left = ("class_weight", "validation_split", "steps_per_epoch")
    shuffle, packed = given.get("shuffle", True), _packed(given)
    samples = _samples(packed)
    if not samples or not isinstance(shuffle, bool):
        return given
    if any(given.get(name) is not None and given[name] != 0.0 for name in left):
        return given
    order = _order(samples) if shuffle else slice(None)
    if order is None:
        return given
    # `batch_size` stays: Keras uses it for validation data, too.
    others = {name: given[name] for name in given if name not in ("y", "sample_weight")}
    size = given.get("batch_size") or _BATCH_SIZE
    return {**others, "x": _batches(packed, order, size), "shuffle": False}


def with_validation_batches(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `fit` with validation batches instead of arrays."""
    validation = given.get("validation_data")
    if not isinstance(validation, tuple) or not 1 < len(validation) < 4:
        return given
    packed = _packed(dict(zip(("x", "y", "sample_weight"), validation, strict=False)))
    if not _samples(packed) or given.get("validation_steps") is not None:
        return given
    size = given.get("validation_batch_size") or given.get("batch_size") or _BATCH_SIZE
    return {**given, "validation_data": _batches(packed, slice(None), size)}


def _packed(given: Mapping[str, Any]) -> Any:
    """Returns the data of a `fit` as Keras packs them; None if Keras checks or repeats the weights."""
    x, y, weights = (given.get(name) for name in ("x", "y", "sample_weight"))
    if weights is not None and (keras.tree.is_nested(y) or keras.tree.is_nested(weights)):
        return None
    return keras.utils.pack_x_y_sample_weight(x, y, weights)


def _samples(packed: Any) -> int:
    """Returns the number of samples; 0 unless the data are numeric arrays of one length, not too large."""
    arrays = keras.tree.flatten(packed)
    for each in arrays:
        # No subclasses: a row of an `np.matrix` is a matrix.
        if type(each) not in (np.ndarray, np.memmap) or each.dtype.kind not in "fiub":
            return 0
    lengths = {each.shape[:1] for each in arrays}
    if len(lengths) != 1 or lengths == {()} or sum(each.nbytes for each in arrays) > MOST_BYTES:
        return 0
    return len(arrays[0])


def _order(samples: int) -> Any:
    """Returns Keras's order of the samples; None if it differs between epochs.

    Keras shuffles inside a dataset's `map`, whose random numbers start again in each epoch. TensorFlow
    derives them from the global seed, if set, and from the place of the operation in its graph. This
    function builds the same graph.
    """
    tf = import_module("tensorflow")
    if samples < _FEWEST_SAMPLES:
        return None

    def permutation(_: Any) -> Any:
        return tf.random.shuffle(tf.range(samples, dtype=tf.int64))

    dataset = _as_it_is(tf.data.Dataset.range(1).map(permutation))
    first, second = (next(iter(dataset)).numpy() for _ in range(2))
    return first if np.array_equal(first, second) else None


def _batches(packed: Any, order: Any, size: int) -> Any:
    """Cuts arrays into batches of a size, in the order of indices or a slice.

    Returns:
        A `tf.data.Dataset` with known cardinality. As in Keras, the batch size is static if all batches are
        full.
    """
    tf = import_module("tensorflow")
    samples = _samples(packed)
    whole = samples // size
    arrays = keras.tree.map_structure(_in_floatx, keras.tree.lists_to_tuples(packed))
    arrays = keras.tree.map_structure(lambda array: array[order], arrays)

    def full(array: Any) -> Any:
        return array[: whole * size].reshape((whole, size, *array.shape[1:]))

    dataset = tf.data.Dataset.from_tensor_slices(keras.tree.map_structure(full, arrays))
    if samples % size:
        last = keras.tree.map_structure(lambda array: array[whole * size :], arrays)
        dataset = dataset.concatenate(tf.data.Dataset.from_tensors(last))
    return _as_it_is(dataset)


def _as_it_is(dataset: Any) -> Any:
    """Switches off optimizations, which take threads and copy arrays."""
    options = import_module("tensorflow").data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options)


def _in_floatx(array: Any) -> Any:
    """Returns an array in the dtype in which Keras passes it to a model."""
    floatx = keras.config.floatx()
    return array.astype(floatx) if array.dtype.kind == "f" and array.dtype != floatx else array
