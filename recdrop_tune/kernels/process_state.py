"""The process-wide state of the backend: custom gradients, names of layers, and random states."""

from __future__ import annotations

import contextlib
import random
import weakref
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels.keras_internals import (
    forward_pass,
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
    """Frees the custom gradients traced inside the block together with their graphs.

    TensorFlow registers the gradient of every traced `tf.custom_gradient` until the process ends, and the
    gradient holds its graph. Keras's optimizers trace one in every training step (the gradient of
    `tf.distribute`'s sum over replicas), so no training step would ever be freed.
    """
    registered = registered_gradients()
    known = set(registered)
    try:
        yield
    finally:
        for name in set(registered) - known:
            gradient = registered[name]["type"]
            graph = graph_of_gradient(gradient) if name.startswith(_PREFIX) else None
            if graph is not None:
                # Now the graph holds the gradient, and both can be freed together.
                graph.add_to_collection(_COLLECTION, gradient)
                registered[name] = {**registered[name], "type": _weak(gradient)}
                weakref.finalize(graph, registered.pop, name, None).atexit = False


def _weak(gradient: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that calls another one through a weak reference."""
    reference = weakref.ref(gradient)

    def call(*args: Any) -> Any:
        generator = reference()
        if generator is None:
            raise LookupError("The graph in which this custom gradient was traced was freed.")
        return generator(*args)

    return call


class FreshStart:
    """Starts each training like the first one of its process: layer names count from 0, seeds are set.

    Both `keras.utils.clear_session` and `keras.utils.set_random_seed` discard TensorFlow's kernels, also
    those of compiled models that wait for their next trial. Creating them again would take a third of the
    time of a small trial.
    """

    def __init__(self, *, keep_kernels: bool) -> None:
        self._keep = keep_kernels
        # The first start clears the state of other code.
        self._clean = False
        self._seeds: set[int] = set()

    def begin(self, seed: int | None) -> None:
        """Starts a training; without a seed, the random state is kept."""
        # TensorFlow's eager random ops have a state for each seed, which a second start would continue.
        can_keep = self._keep and self._clean and seed not in self._seeds
        if can_keep and (seed is None or seed_keeping_kernels(seed)):
            reset_names()
        else:
            policy = keras.config.dtype_policy()  # `clear_session` would reset it.
            keras.utils.clear_session(free_memory=False)
            keras.config.set_dtype_policy(policy)
            if seed is not None:
                keras.utils.set_random_seed(seed)
            self._clean, self._seeds = True, set()
        if seed is not None:
            self._seeds.add(seed)


@contextlib.contextmanager
def seeds_aside() -> Iterator[None]:
    """Takes one number from Python's random state, no matter how many seeds are drawn inside.

    Keras draws the seeds of initializers and dropout from that state. Two models that differ only in what is
    created inside the block have the same initial weights under one seed.
    """
    seed = random.getrandbits(64)
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def random_states() -> list[Any]:
    """Returns the states of the random generators that are no variables: Python's, NumPy's and PyTorch's."""
    states: list[Any] = [random.getstate(), np.random.get_state(), []]
    if keras.backend.backend() == "torch":
        import torch

        # With Keras's torch backend, dropout without a seed draws from PyTorch's.
        tensors = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
        states[2] = [each.numpy() for each in tensors]
    return states


def set_random_states(states: list[Any]) -> None:
    """Restores what `random_states` returned."""
    (version, words, gauss), of_numpy, of_torch = states
    random.setstate((version, tuple(words), gauss))  # JSON has made lists of the tuples.
    np.random.set_state(of_numpy)
    if keras.backend.backend() == "torch" and of_torch:
        import torch

        tensors = [torch.from_numpy(each) for each in of_torch]
        torch.set_rng_state(tensors[0])
        for device, state in enumerate(tensors[1 : 1 + torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, device)


# Seeds of Keras and NumPy are unsigned 32-bit integers.
_LARGEST = 2**32 - 1


def check_seed(seed: Any) -> int | None:
    """Returns a seed as a Python integer, or `None`; raises if Keras and NumPy would refuse it."""
    if seed is None:
        return None
    number = isinstance(seed, Integral) and not isinstance(seed, bool)
    if not number or not 0 <= int(seed) <= _LARGEST:
        expected = "an integer of at least 0 or None, below 2**32"
        raise invalid_argument("seed", expected=expected, received=seed)
    return int(seed)


def derive_seed(*parts: Any) -> int:
    """Returns a seed that depends on all of the parts: below 2**31, which every backend takes."""
    return random.Random(repr(parts)).getrandbits(31)


def default_seed(*parts: int) -> int:
    """Derives a seed from Python's random state, as Keras does, but draws nothing from that state.

    Keras draws the seeds of initializers from it. So layers made after a dropout layer start with the weights
    that they have in a model without dropout. Without a draw in between, different seeds need different
    `parts`.
    """
    return derive_seed(random.getstate(), *parts)


# No two streams of a model may coincide. Any large numbers would do; these are primes.
_OF_REPLICA = 1_000_003
_OF_GENERATOR = 1_299_709


class SeparateSeedGenerator(keras.random.SeedGenerator):
    """Gives each layer of a model its own stream, on each replica of a `tf.distribute` strategy.

    A strategy keeps the state of a generator equal on all replicas. With Keras's own generator they would all
    draw the same masks for their parts of a batch, as with `keras.layers.Dropout`. The seeds of the first
    layer on the first replica are Keras's.
    """

    def next(self, ordered: bool = True) -> Tensor:
        """Returns the next seed, of shape `(2,)`."""
        seed = super().next(ordered)
        replica = keras.ops.cast(_replica(), seed.dtype)
        offset = replica * _OF_REPLICA + self._number() * _OF_GENERATOR
        return seed + keras.ops.stack([offset, keras.ops.zeros_like(offset)])

    def _number(self) -> int:
        """Returns how many other generators with this seed drew before it in the forward pass."""
        seed = self.get_config()["seed"]
        if seed is None:  # Keras has drawn one.
            return 0
        # Only the forward pass shows which layers with one seed a model has: those of two towers can have the
        # same names, and a layer can be in two wrappers.
        drawn = forward_pass().setdefault(f"recdrop_tune_{seed}", [])
        if self not in drawn:
            drawn.append(self)
        return int(drawn.index(self))


def _replica() -> Any:
    """Returns the number of the current replica, 0 without replicas."""
    if keras.backend.backend() != "tensorflow":
        return 0
    import tensorflow as tf

    context = tf.distribute.get_replica_context()  # `None` in a cross-replica context.
    if context is None or not tf.distribute.has_strategy():
        return 0
    return context.replica_id_in_sync_group
