"""Batches for TensorFlow that are cut beforehand, as fast `tf.data` datasets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from recdrop_tune.models.epoch_order import EpochOrder, in_floatx


def cut_batches(packed: Any, size: int) -> Any:
    """Cuts a structure of arrays into batches: a `tf.data.Dataset` with known cardinality."""
    return _cut(_tensors(packed), size)


class EpochDataset(tf.data.Dataset):
    """Batches of a structure of arrays in the order of the epoch, cut when an iteration begins."""

    # Mapping a function over indices would take longer: Keras makes two iterators in each epoch, and each
    # makes an instance of the function.

    def __init__(self, packed: Any, order: EpochOrder, size: int) -> None:
        self._tensors, self._order, self._size = _tensors(packed), order, size
        # Only its length counts: `__iter__` makes the batches.
        same_length = tf.data.Dataset.range(0, len(order.rows), size)
        super().__init__(tf.data.experimental.to_variant(same_length))

    def __iter__(self) -> Iterator[Any]:
        variant = _cut_in_order(self._tensors, self._order.rows, self._size)
        return iter(tf.data.experimental.from_variant(variant, self.element_spec))

    def _inputs(self) -> list[Any]:
        return []

    @property
    def element_spec(self) -> Any:
        """The types and shapes of a batch."""
        length = None if len(self._order.rows) % self._size else self._size
        return keras.tree.map_structure(
            lambda tensor: tf.TensorSpec((length, *tensor.shape[1:]), tensor.dtype), self._tensors
        )


def _tensors(packed: Any) -> Any:
    """Returns arrays as Keras passes them to a model, in the memory of the CPU."""
    with tf.device("CPU"):
        return keras.tree.map_structure(
            lambda array: tf.convert_to_tensor(in_floatx(array)), keras.tree.lists_to_tuples(packed)
        )


# Traced once for all trainings on data of these shapes: datasets are made four times as fast in a graph.
@tf.function(autograph=False)
def _cut_in_order(tensors: Any, rows: Any, size: int) -> Any:
    with tf.device("CPU"):
        ordered = keras.tree.map_structure(lambda tensor: tf.gather(tensor, rows), tensors)
    return tf.data.experimental.to_variant(_cut(ordered, size))


def _cut(tensors: Any, size: int) -> Any:
    samples = keras.tree.flatten(tensors)[0].shape[0]
    whole = samples // size

    def full(tensor: Any) -> Any:
        return tf.reshape(tensor[: whole * size], (whole, size, *tensor.shape[1:]))

    with tf.device("CPU"):
        dataset = tf.data.Dataset.from_tensor_slices(keras.tree.map_structure(full, tensors))
        if samples % size:
            last = keras.tree.map_structure(lambda tensor: tensor[whole * size :], tensors)
            dataset = dataset.concatenate(tf.data.Dataset.from_tensors(last))
    # Optimizations take threads and copy arrays.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options)
