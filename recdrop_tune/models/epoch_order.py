"""The order of the samples in each epoch, which depends on a seed and the number of the epoch alone."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np


class EpochOrder(keras.callbacks.Callback):
    """Draws the order of the samples, `rows` of shape `(samples,)`, when an epoch begins."""

    # The same on all backends, and in a training that continues with `initial_epoch`. Keras up to 3.15
    # repeats one order in all epochs on TensorFlow, if there is a global seed.

    def __init__(self, seed: int, samples: int) -> None:
        super().__init__()
        self._seed = seed
        # Keras can take a batch before the first epoch, to build the model.
        self.rows = np.arange(samples)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Draws the order of an epoch."""
        self.rows = np.random.default_rng([self._seed, epoch]).permutation(len(self.rows))


class ShuffledBatches(keras.utils.PyDataset):
    """Batches of a structure of arrays, in the order of the epoch."""

    def __init__(self, packed: Any, order: EpochOrder, size: int) -> None:
        super().__init__()
        self._packed, self._order, self._size = packed, order, size

    def __len__(self) -> int:
        return math.ceil(len(self._order.rows) / self._size)

    def __getitem__(self, index: int) -> Any:
        rows = self._order.rows[index * self._size : (index + 1) * self._size]
        return keras.tree.map_structure(lambda array: in_floatx(array[rows]), self._packed)


def in_floatx(array: Any) -> Any:
    """Returns an array in the dtype in which Keras passes it to a model."""
    floatx = keras.config.floatx()
    return array.astype(floatx) if array.dtype.kind == "f" and array.dtype != floatx else array
