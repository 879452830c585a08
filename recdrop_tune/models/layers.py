"""Finds layers inside a layer or model, however they are nested."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import keras

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import sublayers
from recdrop_tune.wrappers import (
    AbstractDropoutWrapper,
    ActivityDecay,
    EmbeddingDropout,
    LockedDropout,
)


def walk(root: Any) -> Iterator[Any]:
    """Yields a layer and every layer inside it, each once, in the order in which they are held."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        layer = waiting.pop()
        if id(layer) not in seen:
            seen.add(id(layer))
            yield layer
            waiting.extend(reversed(sublayers(layer)))


_DROPPING = AbstractDropoutWrapper | EmbeddingDropout | LockedDropout


def dropout_layers(root: Any) -> list[Any]:
    """Returns this package's dropout layers in a layer or model, including those in a `Bidirectional`."""
    return [layer for layer in walk(root) if isinstance(layer, _DROPPING)]


def own_layers(root: Any) -> list[Any]:
    """Returns this package's layers in a layer or model, including those that drop nothing."""
    return [layer for layer in walk(root) if isinstance(layer, _DROPPING | ActivityDecay)]


def learning_layers(root: Any) -> list[Any]:
    """Returns the dropout layers in a layer or model that learn their rates."""
    # A user-defined `fit` can train other objects than Keras models.
    layers = dropout_layers(root) if isinstance(root, keras.layers.Layer) else []
    return [layer for layer in layers if layer.learns_rates]


def plain_weights(root: Any) -> list[Any]:
    """Returns the weights that a layer or model also has without dropout: all but learned rates."""
    learned = {id(logit) for layer in learning_layers(root) for logit in layer.logits.values()}
    return [weight for weight in root.weights if id(weight) not in learned]


def kept_states(root: Any) -> list[Any]:
    """Returns the states of stateful layers, which are not among a model's variables."""
    stateful = [part for part in walk(root) if getattr(part, "stateful", False)]
    kept = [getattr(part, "states", None) for part in stateful]
    states = {id(state): state for state in keras.tree.flatten(kept) if hasattr(state, "assign")}
    return list(states.values())


def is_of_layers(model: Any) -> bool:
    """Returns whether the model is Sequential or functional. Subclassed models can compute anything."""
    return type(model) in (keras.Sequential, type(smallest_model(sequential=False)))


def is_known(part: Any) -> bool:
    """Returns whether the configuration of a layer, loss or metric is certain to be complete."""
    # Keras saves a user-defined `tanh` as its own, and does not save what `adapt` has learned.
    held = [*vars(part).values(), getattr(part, "fn", None), getattr(part, "_fn", None)]
    functions = [value for value in held if isinstance(value, FunctionType)]
    packages = {str(each.__module__).partition(".")[0] for each in [type(part), *functions]}
    return packages <= {"keras", "recdrop_tune"} and not callable(getattr(part, "adapt", None))


@functools.cache
def smallest_model(sequential: bool) -> Any:
    """Makes a `Sequential` or functional model, whose class has no public name in Keras."""
    # Given names keep the default names of later layers unchanged.
    inputs, layer = keras.Input((1,), name="input"), keras.layers.Identity(name="layer")
    if sequential:
        return keras.Sequential([inputs, layer], name="model")
    return keras.Model(inputs, layer(inputs), name="model")


def check_layer(model: object) -> None:
    """Raises `InvalidArgumentError` unless the argument `model` is a Keras layer or model."""
    if not isinstance(model, keras.layers.Layer):
        raise invalid_argument("model", expected="a Keras model or layer", received=model)
