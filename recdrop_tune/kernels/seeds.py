"""Seeds of the noise: other ones on each replica of a distribution strategy."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import keras

from recdrop_tune.errors import invalid_argument
from recdrop_tune.rewrites import Tensor

# Far from the seeds that people choose, and from the one next to them, which a backward direction
# takes: no two streams of a model may meet. A prime, for want of anything better.
_STRIDE = 1_000_003


# The two directions of a layer have seeds next to each other, and Keras's are unsigned 32-bit integers.
_LARGEST = 2**32 - 2


def check_seed(seed: Any) -> int | None:
    """Returns a seed as Python's own integer, or `None`.

    Raises:
        InvalidArgumentError: It is none that Keras and NumPy take.
    """
    if seed is None:
        return None
    number = isinstance(seed, Integral) and not isinstance(seed, bool)
    if not number or not 0 <= int(seed) <= _LARGEST:
        expected = "an integer of at least 0 or None, below 2**32 - 1"
        raise invalid_argument("seed", expected=expected, received=seed)
    return int(seed)


class ReplicaSeedGenerator(keras.random.SeedGenerator):
    """Gives each replica of a `tf.distribute` strategy a stream of its own.

    A strategy keeps the generator's state the same on all replicas. With Keras's own generator they
    would all draw the same masks for their parts of a batch, as replicas with
    `keras.layers.Dropout` do. Without a strategy, and on the first replica, the seeds are Keras's.
    """

    def next(self, ordered: bool = True) -> Tensor:
        """Returns the next seed, of shape `(2,)`."""
        seed = super().next(ordered)
        replica = _replica()
        if replica is None:
            return seed
        offset = keras.ops.cast(replica, seed.dtype) * _STRIDE
        return seed + keras.ops.stack([offset, keras.ops.zeros_like(offset)])


def _replica() -> Any:
    """The number of the replica whose code this is; `None` where there are no replicas."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()  # `None` while the replicas are gathered
    if context is None or not tf.distribute.has_strategy():
        return None
    return context.replica_id_in_sync_group
