"""What TensorFlow keeps for the life of the process, tied to the life of the graphs and of the models."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras

from recdrop_tune.kernels import keras_internals as _hooks
from recdrop_tune.kernels.keras_internals import reset_names, seed_keeping_kernels

# Lets TensorFlow's custom gradients go together with the graphs that they were traced in.
#
# TensorFlow registers the gradient of every `tf.custom_gradient` that it traces, for the life of the
# process, and the gradient holds its graph. Keras's optimizers trace one in every training step (the
# gradient of `tf.distribute`'s sum over replicas): no training step would ever be freed.

_PREFIX = "CustomGradient-"
_COLLECTION = "recdrop_tune_gradients"


@contextlib.contextmanager
def gradients_tied_to_graphs() -> Iterator[None]:
    """Ties the custom gradients that are traced inside to the life of their graphs.

    As long as a graph is alive, its gradients are found as ever.

    Example:
        >>> with gradients_tied_to_graphs():
        ...     model.fit(x, y)
    """
    registered = _hooks.registered_gradients()
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
    graph = _hooks.graph_of_gradient(gradient)
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


# What stands before every training: names that count from the beginning, and a random state.


def _clear_session() -> None:
    """Clears all of Keras's state but what the user has set: the policy of dtypes."""
    policy = keras.config.dtype_policy()
    keras.utils.clear_session(free_memory=False)
    keras.config.set_dtype_policy(policy)


class Beginning:
    """Begins trainings as if each were the first of its process.

    Both `keras.utils.clear_session` and `keras.utils.set_random_seed` throw TensorFlow's kernels away,
    those of the compiled models that wait for their next trial too. A third of a small trial would go
    into making them again.

    Args:
        keep_kernels: Whether to leave them where they are.
    """

    def __init__(self, *, keep_kernels: bool) -> None:
        self._keep = keep_kernels
        # The first beginning clears what others have left.
        self._clean = False
        self._seeds: set[int] = set()

    def begin(self, seed: int | None) -> None:
        """Begins a training.

        Args:
            seed: Seed of everything that it draws; `None` leaves the random state alone.
        """
        if not (self._keep and self._clean and self._renewed(seed)):
            _clear_session()
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
