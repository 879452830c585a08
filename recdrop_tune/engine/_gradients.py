"""Lets TensorFlow's custom gradients go together with the graphs that they were traced in.

TensorFlow registers the gradient of every `tf.custom_gradient` that it traces, for the life of the
process, and the gradient holds its graph. Keras's optimizers trace one in every training step (the
gradient of `tf.distribute`'s sum over replicas): no training step would ever be freed.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from recdrop_tune.engine import _hooks

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
