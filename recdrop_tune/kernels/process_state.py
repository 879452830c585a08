"""What the backend keeps for the whole process: custom gradients, names of layers, and random states."""

from __future__ import annotations

import contextlib
import random
import weakref
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any

import keras

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels.keras_internals import (
    graph_of_gradient,
    registered_gradients,
    reset_names,
    seed_keeping_kernels,
)
from recdrop_tune.rewrites import Tensor

_PREFIX = "CustomGradient-"
_COLLECTION = "recdrop_tune_gradients"


@contextlib.contextmanager
def gradients_tied_to_graphs() -> Iterator[None]:
    """Ties the custom gradients that are traced inside to the life of their graphs.

    TensorFlow registers the gradient of every `tf.custom_gradient` that it traces, for the life of the
    process, and the gradient holds its graph. Keras's optimizers trace one in every training step (the
    gradient of `tf.distribute`'s sum over replicas): no training step would ever be freed. As long as a
    graph is alive, its gradients are found as ever.

    Example:
        >>> with gradients_tied_to_graphs():
        ...     model.fit(x, y)
    """
    registered = registered_gradients()
    known = set(registered)
    try:
        yield
    finally:
        for name in set(registered) - known:
            if name.startswith(_PREFIX):
                _tie(registered, name)


def _tie(registered: dict[str, dict[str, Any]], name: str) -> None:
    entry = registered[name]
    gradient = entry["type"]
    graph = graph_of_gradient(gradient)
    if graph is None:
        return
    # The graph holds the gradient now, and they can be freed together.
    graph.add_to_collection(_COLLECTION, gradient)
    registered[name] = {**entry, "type": _weak(gradient)}
    weakref.finalize(graph, registered.pop, name, None).atexit = False


def _weak(gradient: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that calls another and does not keep it."""
    reference = weakref.ref(gradient)

    def call(*args: Any) -> Any:
        found = reference()
        if found is None:
            raise LookupError("The graph that this custom gradient was traced in is gone.")
        return found(*args)

    return call


class Beginning:
    """Begins trainings as if each were the first of its process: names count from 0, seeds are set.

    Both `keras.utils.clear_session` and `keras.utils.set_random_seed` throw TensorFlow's kernels away,
    those of the compiled models that wait for their next trial too. A third of a small trial would go
    into making them again.

    Args:
        keep_kernels: Whether to leave them where they are.
    """

    def __init__(self, *, keep_kernels: bool) -> None:
        self._keep = keep_kernels
        # The first beginning clears what is left of other code.
        self._clean = False
        self._seeds: set[int] = set()

    def begin(self, seed: int | None) -> None:
        """Begins a training.

        Args:
            seed: Seed of everything that it draws; `None` leaves the random state alone.
        """
        if not (self._keep and self._clean and self._renewed(seed)):
            policy = keras.config.dtype_policy()  # The user's setting.
            keras.utils.clear_session(free_memory=False)
            keras.config.set_dtype_policy(policy)
            if seed is not None:
                keras.utils.set_random_seed(seed)
            self._clean = True
            self._seeds = set()
        if seed is not None:
            self._seeds.add(seed)

    def _renewed(self, seed: int | None) -> bool:
        # TensorFlow's eager random ops keep a state for each seed: a second time it would go on.
        if seed in self._seeds or (seed is not None and not seed_keeping_kernels(seed)):
            return False
        reset_names()
        return True


@contextlib.contextmanager
def seeds_aside() -> Iterator[None]:
    """Takes one number from Python's random state, however many seeds are drawn inside.

    Keras draws the seed of each initializer and of each dropout from there. Two models that differ in what
    is made inside the block then have the same first weights under one seed.

    Example:
        >>> keras.utils.set_random_seed(0)
        >>> with seeds_aside():
        ...     layer = wrap(keras.layers.LSTM(4), "recurrent", rate=0.1)
        >>> head = keras.layers.Dense(1)  # Its weights are those of a model without dropout.
    """
    seed = random.getrandbits(64)
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


# The two directions of a layer have seeds next to each other, and Keras's are unsigned 32-bit integers.
_LARGEST = 2**32 - 2


def check_seed(seed: Any) -> int | None:
    """Returns a seed as Python's own integer, or `None`.

    Raises:
        InvalidArgumentError: Keras and NumPy do not take it.
    """
    if seed is None:
        return None
    number = isinstance(seed, Integral) and not isinstance(seed, bool)
    if not number or not 0 <= int(seed) <= _LARGEST:
        expected = "an integer of at least 0 or None, below 2**32 - 1"
        raise invalid_argument("seed", expected=expected, received=seed)
    return int(seed)


# Far from the seeds that people choose, and from the one next to them, which a backward direction
# takes: no two streams of a model may meet. A prime, for want of anything better.
_STRIDE = 1_000_003


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
    """Returns the number of the replica whose code this is; `None` where there are no replicas."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()  # `None` while the replicas are gathered
    if context is None or not tf.distribute.has_strategy():
        return None
    return context.replica_id_in_sync_group
