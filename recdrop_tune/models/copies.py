"""Copies a Keras model, layer by layer, and what it was compiled with."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import RecdropError, invalid_argument
from recdrop_tune.kernels import (
    compile_arguments,
    excluded_from_decay,
    lost_arguments,
    wrapped_function,
)
from recdrop_tune.models.layers import own_layers, plain_weights, walk

_STATEFUL = keras.optimizers.Optimizer | keras.metrics.Metric


def copy_model(
    model: Any, copy_one: Callable[[Any], Any], call: Callable[..., Any] | None = None
) -> Any:
    """Copies a Sequential or functional model, or a layer, with a copy or replacement of each layer in it."""
    # Keras's `clone_model` does the work, but leaves out layers inside `TimeDistributed` and other wrappers,
    # and would copy a layer that models share once for each of them.
    made: dict[int, Any] = {}

    def visit(part: Any) -> Any:
        if id(part) not in made:
            made[id(part)] = clone(part) if isinstance(part, keras.Model) else change(part)
        return made[id(part)]

    def change(part: Any) -> Any:
        if not isinstance(part, keras.layers.Layer):
            return copy_layer(part)  # An operation of `keras.ops`.
        if not isinstance(part, keras.layers.Wrapper) or is_ours(part):
            return copy_one(part)
        inner = visit(part.layer)
        if inner is part.layer:
            return copy_one(part)
        config = {name: value for name, value in part.get_config().items() if name != "layer"}
        return type(part)(inner, **config)

    def clone(part: Any) -> Any:
        # `clone_model` refuses `call_function` for a Sequential.
        calling = None if isinstance(part, keras.Sequential) else call
        cloned: Any = None
        if isinstance(part, keras.Sequential) or hasattr(part, "operations"):
            cloned = keras.models.clone_model(part, clone_function=visit, call_function=calling)
        # Keras copies a subclass of Sequential as a Sequential, without its `train_step`.
        if type(cloned) is not type(part):
            raise not_copied(part, f"{type(part).__name__} is a subclassed model")
        if part.built and not cloned.built:  # A Sequential without an `Input`.
            cloned.build_from_config(part.get_build_config())
        if not part.trainable:  # `clone_model` forgets it for functional models.
            flags = [(layer, layer.trainable) for layer in [*walk(cloned)][1:]]
            cloned.trainable = False  # Freezes the layers in it, too; some can be trained again.
            for layer, trainable in flags:
                layer.trainable = trainable
        return cloned

    # The copy will pass on its masks.
    with _not_compiled(model), without_warning("Layer .* was passed an input with a mask"):
        return visit(model)


def copy_layer(layer: Any) -> Any:
    """Returns a fresh copy of a layer or operation, with the same functions, e.g. activations."""
    with lambdas_allowed():
        described = keras.saving.serialize_keras_object(layer)
    described.pop("build_config", None)
    fresh = _deserialize(described, custom_objects(layer))
    set_functions(fresh, functions_of(layer))
    return fresh


def copy_bidirectional(layer: Any, copy_side: Callable[[Any], Any]) -> Any:
    """Copies a `Bidirectional`, with changed layers in it."""
    config = layer.get_config()
    for side in ("layer", "backward_layer"):
        config.pop(side, None)  # A subclass may leave them out.
    forward, backward = map(copy_side, (layer.forward_layer, layer.backward_layer))
    with keras.saving.custom_object_scope(custom_objects(layer)):
        fresh = type(layer)(forward, backward_layer=backward, **config)
    set_functions(fresh.forward_layer, functions_of(forward))  # Keras copied this one.
    return fresh


def is_ours(layer: Any) -> bool:
    """Returns whether a layer is a dropout layer of this package."""
    return layer in own_layers(layer)


def functions_of(layer: Any) -> list[dict[str, FunctionType]]:
    """Returns the functions, by attribute, of a layer and each layer inside it."""
    return [_functions(part) for part in _with_cells(layer)]


def _functions(part: Any) -> dict[str, FunctionType]:
    # Methods that Keras replaces in an object, such as `build`, do not count.
    return {
        name: value
        for name, value in vars(part).items()
        if isinstance(value, FunctionType) and not hasattr(type(part), name)
    }


def set_functions(layer: Any, functions: list[dict[str, FunctionType]]) -> None:
    """Sets what `functions_of` returned for another copy of the layer."""
    # Keras saves a user-defined `tanh` as its own, and confuses functions of one name.
    for part, held in zip(_with_cells(layer), functions, strict=False):
        for name in held.keys() & vars(part).keys():
            setattr(part, name, held[name])


def copy_weights(model: Any, fresh: Any, frozen_only: bool = False) -> None:
    """Copies weights, except learned rates, and what layers learned by `adapt`."""
    old, new = plain_weights(model), plain_weights(fresh)
    learners = [
        [part for part in walk(each) if callable(getattr(part, "adapt", None))]
        for each in (model, fresh)
    ]
    shapes = [[tuple(weight.shape) for weight in weights] for weights in (old, new)]
    if shapes[0] != shapes[1] or len(learners[0]) != len(learners[1]):
        raise not_copied(model, "the copy has other weights or layers")
    frozen = {
        id(weight) for layer in walk(model) if not layer.trainable for weight in layer.weights
    }
    for weight, other in zip(old, new, strict=True):
        if not frozen_only or id(weight) in frozen:
            # By value: JAX frees the arrays of a model in training.
            other.assign(keras.ops.convert_to_numpy(weight))
    for layer, other in zip(*learners, strict=True):
        _copy_adapted(layer, other)


def not_copied(part: Any, why: str, fix: str = "") -> RecdropError:
    """Returns the error for a model that cannot be copied."""
    return invalid_argument(
        "model",
        expected="a model that Keras can copy",
        received=f"{getattr(part, 'name', type(part).__name__)}: {why}",
        fix=fix
        or "Write it as a Sequential or functional model. In a search, a build function with "
        "`recdrop_tune.dropout_rnn(hp, layer)` also works.",
    )


# The arguments of `compile`

_FUNCTION = "recdrop_tune>wrapped_function"
"""Replaces the name of a metric's function, which can also be the name of another."""


@dataclass(frozen=True)
class Described:
    """An optimizer, metric or loss as data. The first two have state: each copy of a model needs its own."""

    config: dict[str, Any]
    custom: dict[str, Any]
    undecayed: str | None = None

    @classmethod
    def of(cls, part: Any) -> Described:
        """Describes an optimizer, metric or loss."""
        undecayed, variables = excluded_from_decay(part)
        if variables:
            raise not_copied(
                part,
                "`exclude_from_weight_decay(var_list=...)` names variables of this model",
                'Use names instead: `exclude_from_weight_decay(var_names=["bias"])`.',
            )
        custom, function = custom_objects(part), wrapped_function(part)
        with lambdas_allowed():
            config = keras.saving.serialize_keras_object(part)
        # Keras 3.15 drops arguments of wrapped losses, such as the `delta` of Huber.
        config["config"] = {**config["config"], **lost_arguments(part)}
        if isinstance(part, keras.losses.Loss) and part.dtype != keras.config.floatx():
            config["config"]["dtype"] = part.dtype  # Keras does not save it.
        # Keras cannot find unregistered functions.
        if function is not None and "fn" in config["config"]:
            # Keras would also replace the metric's name, which is often the function's, by the function.
            custom.pop(getattr(function, "__name__", ""), None)
            config["config"]["fn"] = {
                "module": "builtins",
                "class_name": "function",
                "config": _FUNCTION,
            }
            custom[_FUNCTION] = function
        return cls(config, custom, undecayed)

    def make(self) -> Any:
        """Makes a new one, without state."""
        fresh = _deserialize(self.config, self.custom)
        if self.undecayed is not None:
            getattr(fresh, "inner_optimizer", fresh).exclude_from_weight_decay(
                var_names=[self.undecayed]
            )
        return fresh


def compiled_parts(model: Any) -> dict[str, Any] | None:
    """Returns the arguments of `compile`, with stateful objects `Described`; None if not compiled."""
    if not model.compiled:
        return None

    def described(part: Any) -> Any:
        # A loss has no state, but Keras pickles Huber without its `delta`, on the way to a Ray worker.
        is_of_keras = type(part).__module__.startswith("keras.")
        is_loss = isinstance(part, keras.losses.Loss) and is_of_keras
        return Described.of(part) if is_loss or isinstance(part, _STATEFUL) else part

    return dict(keras.tree.map_structure(described, compile_arguments(model)))


def remade(compiled: Any) -> Any:
    """Returns what `compiled_parts` returned, or a part of it, with new objects."""
    return keras.tree.map_structure(
        lambda part: part.make() if isinstance(part, Described) else part, compiled
    )


def _deserialize(described: dict[str, Any], custom: dict[str, Any]) -> Any:
    # Keras changes configurations while it reads them.
    # Safe mode guards against code in files; this configuration comes from a live object.
    return keras.saving.deserialize_keras_object(
        copy.deepcopy(described), custom_objects=custom, safe_mode=False
    )


def _with_cells(part: Any) -> list[Any]:
    return list(walk(part)) if isinstance(part, keras.layers.Layer) else [part]


def _parts(part: Any) -> list[Any]:
    """Returns an object and the configured objects in it: schedules, inner optimizers, initializers."""
    parts = [part]
    for held in vars(part).values():
        if hasattr(held, "get_config") and not isinstance(held, type):
            parts += _parts(held) if isinstance(held, keras.optimizers.Optimizer) else [held]
    return parts


def custom_objects(whole: Any) -> dict[str, Any]:
    """Returns the classes and functions in a layer, metric or optimizer, by the names that Keras saves."""
    objects: dict[str, Any] = {}
    for part in _with_cells(whole):
        for held in _parts(part):
            objects[type(held).__name__] = type(held)
            objects |= {each.__name__: each for each in _functions(held).values()}
    return {
        name: each
        for name, each in objects.items()
        if not str(each.__module__).startswith("keras.")
    }


def _copy_adapted(layer: Any, fresh: Any) -> None:
    """Copies a vocabulary, which is not a weight, and the variables of a preprocessing layer."""
    has_variables = layer.built
    if hasattr(layer, "get_vocabulary"):
        words = list(layer.get_vocabulary(include_special_tokens=False))
        weighted = layer.get_config().get("output_mode") == "tf_idf"
        # The table of words cannot be saved as a variable.
        has_variables = bool(words) and weighted
        if words:
            fresh.set_vocabulary(words, [0.0] * len(words) if weighted else None)
    if has_variables:
        variables: dict[str, Any] = {}
        layer.save_own_variables(variables)
        fresh.load_own_variables({name: np.array(value) for name, value in variables.items()})


@contextmanager
def without_warning(message: str) -> Iterator[None]:
    """Silences a warning of Keras."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=message)
        yield


# Nothing is written to a file.
lambdas_allowed = partial(without_warning, "The object being serialized includes a `lambda`")


@contextmanager
def _not_compiled(model: Any) -> Iterator[None]:
    """Keeps `clone_model` from compiling its copies: it loses losses and metrics that nobody registered."""
    compiled = [part for part in walk(model) if isinstance(part, keras.Model) and part.compiled]
    for part in compiled:
        part.compiled = False
    try:
        yield
    finally:
        for part in compiled:
            part.compiled = True
