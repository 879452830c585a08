"""Counts the batches of a `fit`, and replaces its arrays by batches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import keras
import numpy as np

from recdrop_tune.kernels import global_seed
from recdrop_tune.models.epoch_order import EpochOrder, ShuffledBatches

MOST_BYTES = 2**30
"""Larger data are not cut beforehand: they would be in memory up to four times while an epoch begins."""

_BATCH_SIZE = 32  # Keras's default.


def number_of_batches(given: Mapping[str, Any]) -> int:
    """Returns the number of batches in an epoch; 0 if unknown."""
    x = given.get("x")
    if given.get("steps_per_epoch") is not None or given.get("validation_steps") is not None:
        return 0  # The last call would run too many.
    on_tensorflow = keras.backend.backend() == "tensorflow"
    if on_tensorflow and isinstance(x, import_module("tensorflow").data.Dataset):
        return max(0, int(x.cardinality()))
    return math.ceil(_samples(_packed(given)) / (given.get("batch_size") or _BATCH_SIZE))


def with_held_out(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `fit` with validation data instead of `validation_split`."""
    split, packed = given.get("validation_split"), _packed(given)
    if not split or given.get("validation_data") is not None or given.get("y") is None:
        return given
    samples = _samples(packed)
    kept = math.floor(samples * (1.0 - split))
    if not 0 < kept < samples:
        return given  # Keras raises an error.
    training, held_out = (
        keras.tree.map_structure(lambda array, rows=rows: array[rows], packed)
        for rows in (slice(kept), slice(kept, None))
    )
    named = dict(zip(("x", "y", "sample_weight"), training, strict=False))
    return {**given, **named, "validation_data": held_out, "validation_split": 0.0}


def with_training_batches(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `fit` with shuffled batches and their `EpochOrder` instead of arrays."""
    shuffle, packed = given.get("shuffle", True), _packed(given)
    if not _samples(packed) or not isinstance(shuffle, bool) or given.get("steps_per_epoch"):
        return given
    size, seed = given.get("batch_size") or _BATCH_SIZE, global_seed()
    # `batch_size` stays: Keras uses it for validation data, too.
    others = {name: given[name] for name in given if name not in ("y", "sample_weight")}
    # Keras maps class weights over a dataset of TensorFlow, and the result would keep one order.
    is_cut = _can_be_cut(packed) and given.get("class_weight") is None
    if not shuffle:
        return {**others, "x": _on_tensorflow().cut_batches(packed, size)} if is_cut else given
    if seed is None:
        return given
    order, callbacks = EpochOrder(seed, _samples(packed)), given.get("callbacks")
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.callbacks.append(order)
    else:
        callbacks = [*keras.tree.flatten(callbacks or []), order]
    batches = _on_tensorflow().EpochDataset if is_cut else ShuffledBatches
    batches = batches(packed, order, size)
    return {**others, "x": batches, "shuffle": False, "callbacks": callbacks}


def with_validation_batches(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `fit` with batches instead of validation arrays, on TensorFlow."""
    validation = given.get("validation_data")
    if not isinstance(validation, tuple) or not 1 < len(validation) < 4:
        return given
    packed = _packed(dict(zip(("x", "y", "sample_weight"), validation, strict=False)))
    if not _can_be_cut(packed) or given.get("validation_steps") is not None:
        return given
    size = given.get("validation_batch_size") or given.get("batch_size") or _BATCH_SIZE
    return {**given, "validation_data": _on_tensorflow().cut_batches(packed, size)}


def _packed(given: Mapping[str, Any]) -> Any:
    """Returns the data of a `fit` as Keras packs them; None if Keras repeats or refuses the weights."""
    x, y, weights = (given.get(name) for name in ("x", "y", "sample_weight"))
    if weights is not None:
        try:
            keras.tree.assert_same_structure(y, weights)
        except ValueError:
            return None
    return keras.utils.pack_x_y_sample_weight(x, y, weights)


def _samples(packed: Any) -> int:
    """Returns the number of samples; 0 unless the data are numeric arrays of one length."""
    arrays = keras.tree.flatten(packed)
    for array in arrays:
        # No subclasses: a row of an `np.matrix` is a matrix.
        if type(array) not in (np.ndarray, np.memmap) or array.dtype.kind not in "fiub":
            return 0
    lengths = {array.shape[:1] for array in arrays}
    return len(arrays[0]) if len(lengths) == 1 and lengths != {()} else 0


def _can_be_cut(packed: Any) -> bool:
    """Returns whether data are arrays for TensorFlow, not too large."""
    if keras.backend.backend() != "tensorflow" or not _samples(packed):
        return False
    size: int = sum(array.nbytes for array in keras.tree.flatten(packed))
    return size <= MOST_BYTES


def _on_tensorflow() -> Any:
    return import_module("recdrop_tune.models.tensorflow_batches")
