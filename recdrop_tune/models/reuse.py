"""Reuses a compiled model for the next training, so that nothing is traced and compiled twice.

Weights, rates, the learning rate and random states are variables: two models that differ only in these
share their traced functions. That is certain for models of Keras's own layers and those of this package,
whose configurations hold all their arguments. A model with a user-defined class or function, or with a
layer that learns by `adapt`, is built and traced anew in every training.
"""

from __future__ import annotations

import functools
import gc
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from typing import Any

import keras

from recdrop_tune.kernels import compile_arguments, excluded_from_decay, lost_arguments
from recdrop_tune.models.copies import lambdas_allowed
from recdrop_tune.models.layers import (
    dropout_layers,
    is_known,
    is_of_layers,
    kept_states,
    learning_layers,
    smallest_model,
    walk,
)
from recdrop_tune.models.rates import spare_rates


class _ForeignError(Exception):
    """A part of the model is user-defined, so its configuration can be incomplete."""


def structure(model: Any) -> str | None:
    """Returns a text that two models share if one can replace the other; None if it must not be reused."""
    if not (is_of_layers(model) and model.built and model.compiled and model.optimizer):
        return None
    if not _public(model) <= _attributes(isinstance(model, keras.Sequential)):
        return None  # The user has set a `train_step` or a value that one reads.
    arguments = compile_arguments(model)
    given = keras.tree.flatten(arguments)
    parts = [part for part in given if hasattr(part, "get_config")]
    if any(isinstance(part, str) and keras.saving.get_registered_object(part) for part in given):
        return None  # The name of a user-defined loss or metric.
    excluded, by_variable = excluded_from_decay(model.optimizer)
    if by_variable and not learning_layers(model):  # `spare_rates` excludes learned rates.
        return None
    if not all(map(is_known, [*walk(model), *parts])):
        return None
    # They can be set after a layer is built.
    restraints = [
        [getattr(variable, name, None) for name in ("regularizer", "constraint")]
        for variable in model.variables
    ]
    try:
        with lambdas_allowed():
            described = keras.saving.serialize_keras_object(
                [model.get_config(), arguments, restraints]
            )
        described = _structure(described)
    except (_ForeignError, NotImplementedError):
        return None
    losses = [[lost_arguments(part), str(part.dtype)] for part in parts if hasattr(part, "dtype")]
    shapes = [[list(v.shape), str(v.dtype), bool(v.trainable)] for v in model.variables]
    autocast = [layer.autocast for layer in walk(model)]
    return json.dumps([described, losses, shapes, autocast, excluded], sort_keys=True)


def variables_of(model: Any) -> list[Any]:
    """Lists all variables that a training changes: weights, seeds, the optimizer's, and kept states."""
    optimizer = model.optimizer
    if optimizer is None:
        return [*model.variables, *kept_states(model)]
    spare_rates(model)
    if not optimizer.built:  # `LossScaleOptimizer` would make its variables again.
        optimizer.build(model.trainable_variables)
    return [*model.variables, *optimizer.variables, *kept_states(model)]


def renew(model: Any, fresh: Any) -> None:
    """Gives a trained model the state of a fresh one of the same structure; it keeps its traced functions."""
    states = [variables_of(each) for each in (model, fresh)]
    # Rates before variables: setting a learned rate resets its logits.
    for layer, other in zip(dropout_layers(model), dropout_layers(fresh), strict=True):
        layer.configured_rates = other.configured_rates
    for variable, value in zip(*states, strict=True):
        variable.assign(value)
    model.stop_training = False


class ModelCache:
    """Keeps up to `size` compiled models by structure. The least recently used is dropped first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._models: dict[str, Any] = {}  # The least recently used is the first.
        self.reused = 0  # Trainings with a model that was compiled for an earlier one.

    @contextmanager
    def lend(self, fresh: Any) -> Iterator[Any]:
        """Lends a model in the state of a fresh one: compiled already, or the fresh one itself."""
        key = structure(fresh) if self._size else None
        if key is None:
            yield fresh
            return
        model = self._models.pop(key, None)
        if model is None:
            model = fresh
        else:
            renew(model, fresh)
            self.reused += 1
        yield model
        # Not reached by a training that raised, which can leave half an epoch behind.
        if structure(model) == key:  # A callback may have changed the model.
            self._models[key] = model
            if len(self._models) > self._size:
                del self._models[next(iter(self._models))]
                gc.collect()  # A model and its traced functions refer to each other.

    def clear(self) -> None:
        """Drops all models."""
        self._models.clear()
        gc.collect()


def _public(model: Any) -> set[str]:
    return {name for name in vars(model) if not name.startswith("_")}


@functools.cache
def _attributes(sequential: bool) -> frozenset[str]:
    """Returns the public attributes that Keras itself sets on a compiled model."""
    model = smallest_model(sequential)
    model.compile(keras.optimizers.SGD(name="optimizer"), "mse")
    return frozenset({"history", "stop_evaluating", "stop_predicting"} | _public(model))


def _structure(config: Any) -> Any:
    """Removes the values of variables from a configuration, and refuses user-defined parts."""
    if isinstance(config, list | tuple):
        return [_structure(part) for part in config]
    if not isinstance(config, Mapping):
        return config
    own, module = config.get("config"), str(config.get("module"))
    if "module" in config and isinstance(own, Mapping):  # A tensor's is not.
        registered = str(config.get("registered_name"))
        if registered.startswith("recdrop_tune>"):
            # Whether a further rate is 0 chooses the kernel; its value does not.
            more = {name: bool(own[name]) for name in own if name.endswith("_rate")}
            own = {**own, **dict.fromkeys({"rate", "seed"} & own.keys()), **more}
        elif not module.startswith("keras") and module != "builtins":
            raise _ForeignError
        elif "optimizers" in module and isinstance(own.get("learning_rate"), Real):
            own = {**own, "learning_rate": None}
        rest = {key: _structure(value) for key, value in config.items() if key != "config"}
        return {**rest, "config": _structure(own)}
    if config.get("class_name") in ("function", "__lambda__"):
        raise _ForeignError
    return {key: _structure(value) for key, value in config.items()}
