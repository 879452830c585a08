"""A model as the template of trials: copies with other layers instead of its recurrent layers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from types import FunctionType
from typing import Any

import keras

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import cell_of, fused_layer
from recdrop_tune.models.copies import (
    Described,
    compiled_parts,
    copy_bidirectional,
    copy_layer,
    copy_model,
    copy_weights,
    custom_objects,
    functions_of,
    lambdas_allowed,
    not_copied,
    remade,
    set_functions,
)
from recdrop_tune.models.fitting import compile_model
from recdrop_tune.models.layers import own_layers, walk
from recdrop_tune.models.masks import is_of_whole_sequences, with_masks
from recdrop_tune.models.plain import plain_layer, plain_names
from recdrop_tune.wrappers import is_default_name


class ModelCopies:
    """Builds copies of a model, each with new first weights. Frozen layers keep theirs."""

    def __init__(
        self,
        model: Any,
        copy_one: Callable[[Any], Any] = copy_layer,
        keep_weights: bool = False,
    ) -> None:
        self.keep_weights = keep_weights
        self.plain = copy_model(model, copy_one)
        copy_weights(model, self.plain)
        self.compiled = compiled_parts(model)

    def build(self) -> Any:
        """Builds a copy, compiled if the model is."""
        return self._compiled(self._copied(copy_layer))

    def _copied(self, copy_one: Callable[[Any], Any]) -> Any:
        model = copy_model(self.plain, copy_one)
        copy_weights(self.plain, model, frozen_only=not self.keep_weights)
        return model

    def _compiled(self, model: Any) -> Any:
        if self.compiled is not None:
            compile_model(model, **remade(self.compiled))
        return model

    @property
    def loss(self) -> Any:
        """The loss in the structure that `compile` was given; None if the model is not compiled."""
        return remade((self.compiled or {}).get("loss"))

    def __getstate__(self) -> dict[str, Any]:
        """Includes the classes and functions that nobody registered, on the way to a Ray worker."""
        _check_shared(self.plain)
        held = (self.plain.__reduce__(), custom_objects(self.plain), functions_of(self.plain))
        return {**vars(self), "plain": held}

    def __setstate__(self, state: dict[str, Any]) -> None:
        (load, arguments), custom, functions = state["plain"]
        with keras.saving.custom_object_scope(custom):
            plain = load(*arguments)
        set_functions(plain, functions)
        vars(self).update({**state, "plain": plain})

    @lambdas_allowed()
    def fingerprint(self, frozen: bool = True) -> str:
        """Returns a hash of the layers, of what the model was compiled with, and of `frozen` weights."""

        def described(part: Any) -> Any:
            if isinstance(part, Described):
                return part.config
            # Keras can write functions, but no other callables without a configuration.
            opaque = callable(part) and not isinstance(part, FunctionType)
            return type(part).__name__ if opaque and not hasattr(part, "get_config") else part

        compiled = keras.tree.map_structure(described, self.compiled)
        parts = keras.saving.serialize_keras_object([self.plain.get_config(), compiled])
        text = json.dumps(parts, default=lambda part: type(part).__name__, sort_keys=True)
        # Keras numbers default names: of layers, of optimizers and of metrics.
        for number, layer in enumerate(walk(self.plain)):
            text = text.replace(f'"{layer.name}"', f'"layer {number}"')
        text = re.sub(r'("name": "[^"]*?)_\d+"', r'\1"', text)
        layers = [layer for layer in walk(self.plain) if frozen and not layer.trainable]
        weights = [keras.ops.convert_to_numpy(each) for layer in layers for each in layer.weights]
        content = b"".join([text.encode(), *(each.tobytes() for each in weights)])
        return hashlib.sha256(content).hexdigest()[:12]


class Template(ModelCopies):
    """Builds the models of trials from a copy of a model whose recurrent layers have no dropout."""

    def __init__(self, model: Any, keep_weights: bool) -> None:
        if not isinstance(model, keras.Model):
            raise invalid_argument("model", expected="a Keras model", received=model)
        if keep_weights and not model.built:
            raise invalid_argument(
                "keep_weights",
                expected="a model that has weights",
                received=True,
                fix="Build it first: give it a `keras.Input`, or call it on a batch.",
            )
        names = plain_names(model)
        super().__init__(model, lambda layer: _undropped(layer, names), keep_weights)
        layers = recurrent_layers(self.plain)
        if not layers:
            kinds = dict.fromkeys(
                type(layer).__name__ for layer in walk(model) if layer is not model
            )
            raise invalid_argument(
                "model",
                expected="a model with at least one LSTM or GRU layer",
                received=f"`{model.name}` of {', '.join(kinds) or 'no layers'}",
            )
        self.names, self.cells = _names(layers), [str(cell_of(layer)) for layer in layers]
        self.dropped = _dropped(model)

    def build(self, change: Callable[[int, Any], Any] = lambda _, layer: layer) -> Any:
        """Builds a copy, with what `change` returns for the number and the copy of each recurrent layer."""
        numbers = {id(layer): number for number, layer in enumerate(recurrent_layers(self.plain))}

        def copy_one(layer: Any) -> Any:
            new = copy_layer(layer)
            return change(numbers[id(layer)], new) if id(layer) in numbers else new

        model = self._copied(copy_one)
        losses = map(keras.losses.get, keras.tree.flatten(self.loss))
        if not any(map(is_of_whole_sequences, losses)):
            model = with_masks(model)
        return self._compiled(model)


def _check_shared(model: Any) -> None:
    """Refuses a layer that two models share: in a file of Keras it is two layers."""
    owners: dict[int, Any] = {}
    for part in walk(model):
        for layer in part.layers if isinstance(part, keras.Model) else ():
            owner: Any = owners.setdefault(id(layer), part)
            if owner is not part:
                why = f"`{owner.name}` and `{part.name}` share it, which workers cannot load"
                raise not_copied(
                    layer, why, "Search in one process, or use it in one of the models."
                )


def recurrent_layers(model: Any) -> list[Any]:
    """Returns the LSTM and GRU layers in a model; a `Bidirectional` counts as one."""
    layers = list(walk(model))
    both = [each for each in layers if isinstance(each, keras.layers.Bidirectional)]
    inner = {id(side) for each in both for side in [*walk(each)][1:]}
    return [each for each in layers if cell_of(each) is not None and id(each) not in inner]


def _undropped(layer: Any, names: dict[int, str]) -> Any:
    """Copies a layer without wrappers and without dropout in its recurrent layers."""
    if isinstance(layer, keras.layers.Bidirectional):
        fresh = copy_bidirectional(layer, lambda side: _undropped(side, names))
    elif recurrent_wrappers(layer):
        fresh = plain_layer(layer, names)
    else:
        fresh = copy_layer(layer)
    fused = fused_layer(fresh)
    if fused is not None:
        own = fresh.get_config()
        del own["cell"]
        fresh = fused.from_config({**fresh.cell.get_config(), **own})
    if cell_of(fresh) is None and recurrent_layers(layer):
        raise not_copied(layer, "it hides a recurrent layer, whose dropout cannot be changed")
    for part in walk(fresh) if cell_of(fresh) is not None else ():
        if getattr(part, "cell", None) is not None:
            part.cell.dropout = part.cell.recurrent_dropout = 0.0
    return fresh


def recurrent_wrappers(layer: Any) -> list[Any]:
    """Returns this package's wrappers of recurrent layers in a layer or model."""
    return [each for each in own_layers(layer) if cell_of(getattr(each, "layer", None)) is not None]


def _dropped(model: Any) -> list[str]:
    """Describes the dropout of a model's recurrent layers."""
    wrapped = [f"{each.name} ({type(each).__name__})" for each in recurrent_wrappers(model)]
    rates = []
    for layer in walk(model):
        cell = getattr(layer, "cell", None)
        own = {name: getattr(cell, name, 0) for name in ("dropout", "recurrent_dropout")}
        known = type(layer) is keras.layers.RNN or cell_of(layer) is not None
        if known and any(own.values()) and not layer.name.startswith("backward_"):
            words = ", ".join(f"{name}={rate}" for name, rate in own.items() if rate)
            rates.append(f"{layer.name.removeprefix('forward_')} ({words})")
    return wrapped + rates


def _names(layers: list[Any]) -> list[str]:
    """Returns the names that the user gave; for others the class, numbered in the order of the layers."""
    names: list[str] = []
    for layer in layers:
        kind = type(layer).__name__
        default = any(is_default_name(layer.name, each) for each in (kind, "RNN", "LSTM", "GRU"))
        stem = kind.lower() if default else layer.name
        numbered = [stem, *(f"{stem}_{number}" for number in range(1, len(layers) + 1))]
        names.append(next(name for name in numbered if name not in names))
    return names
