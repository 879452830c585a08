"""Copies of a model, with other layers in the place of its LSTM and GRU layers."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from recdrop_tune.errors import RecdropError, invalid_argument
from recdrop_tune.models.adaptation import Adapted, adaptable
from recdrop_tune.models.arguments import check_arguments, not_made
from recdrop_tune.models.compiled_parts import Described, compiled_parts
from recdrop_tune.models.layers import plain_weights, walk
from recdrop_tune.models.learning import is_of_whole_sequences
from recdrop_tune.models.masks import handing_on_masks, with_masks
from recdrop_tune.models.parts import custom_parts, parts_of_model
from recdrop_tune.models.plain import configuration
from recdrop_tune.models.recurrent_parts import (
    Config,
    RecurrentLayer,
    count_recurrent,
    named_layers,
    part_at,
    recurrent_parts,
    without_dropout,
)

_REBUILDABLE = (
    "Describe it as a Sequential or functional model; or write a build function that hands its recurrent "
    "layers to `recdrop_tune.dropout_rnn(hp, layer)`."
)

_MAKEABLE = (
    "Give classes of your own a `get_config` with all their arguments, and an `__init__` that hands "
    "`**kwargs` on; or write a build function with `recdrop_tune.dropout_rnn(hp, layer)`."
)


@dataclass(frozen=True)
class Blueprint:
    """A model as plain data, of which copies are made.

    Attributes:
        config: The configuration of the model, without dropout in its recurrent layers.
        compiled: The arguments that it was compiled with; `None` if it was not.
        custom: The classes in it that are not Keras's, by name.
        weights: The weights that copies begin with; `None` for each that is drawn anew.
        adapted: What its layers with an `adapt` have learned of data, in the order of the layers.
        layers: Its recurrent layers; not those inside a `Bidirectional`, which is one of them.
        dropped: The dropout that the recurrent layers of the model have, in words; copies have none.
        shapes: The shapes of the weights of the model.
    """

    config: Config
    compiled: Config | None
    custom: dict[str, Any]
    weights: tuple[Any, ...]
    adapted: tuple[Adapted, ...]
    layers: tuple[RecurrentLayer, ...]
    dropped: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def digest(self) -> str:
        """Returns what is the same of a model that is made again, and another of one of other sizes.

        It is of the shapes of the weights, the optimizer and the loss, for Keras numbers the layers on.
        """
        compiled = self.compiled or {}
        optimizer = compiled.get("optimizer")
        if isinstance(optimizer, Described):
            optimizer = {**optimizer.config, "config": {**optimizer.config["config"], "name": None}}
        loss = keras.tree.map_structure(_name_of, compiled.get("loss"))
        text = json.dumps([self.shapes, optimizer, loss], default=str, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def build(self, change: Callable[[RecurrentLayer, Any], Any]) -> Any:
        """Makes a copy of the model, compiled as the model is.

        Whatever the layers are changed to, the weights that are drawn anew are the same under one seed.

        Args:
            change: Returns the layer that stands in the place of a recurrent layer; is given which one it is,
                and a fresh copy of it.

        Raises:
            InvalidArgumentError: The model is not made anew by its configuration.
        """
        # First, for what changed layers draw would move the seeds of those after them.
        plain, config = self._make(self.config), copy.deepcopy(self.config)
        for place in self.layers:
            described = part_at(config, place.path)
            layer = self._make(described)
            changed = change(place, layer)
            if changed is not layer:
                described.update(keras.saving.serialize_keras_object(changed), build_config=None)
        model = self._make(config)
        if not plain.built:
            _draw_alike(model, plain)
        if plain.weights:  # Of a model that is not built, those of built ones inside.
            drawn = zip(
                self.weights or [None] * len(plain.weights), plain.get_weights(), strict=True
            )
            for weight, (kept, new) in zip(plain_weights(model), drawn, strict=True):
                weight.assign(new if kept is None else kept)
        for layer, learned in zip(adaptable(model), self.adapted, strict=True):
            learned.give(layer)
        losses = keras.tree.flatten((self.compiled or {}).get("loss"))
        if not any(is_of_whole_sequences(keras.losses.get(each)) for each in losses):
            model = with_masks(model)
        if self.compiled is not None:
            model.compile(**keras.tree.map_structure(_part, self.compiled))
        return model

    def check(self, model: Any) -> None:
        """Makes a plain copy.

        Args:
            model: The model that was read.

        Raises:
            InvalidArgumentError: That is not possible, or it has not all the layers of the model with all
                of their arguments.
        """
        try:
            made = self._make(self.config)
        except Exception as error:
            raise not_made("model", model, parts_of_model(model), error, _MAKEABLE) from error
        same_shapes = [tuple(weight.shape) for weight in made.weights] == list(self.shapes)
        if (self.weights and not same_shapes) or len(adaptable(made)) != len(self.adapted):
            raise _not_rebuilt(made.name)
        check_arguments("model", parts_of_model(model), parts_of_model(made))

    def _make(self, config: Config) -> Any:
        # A copy, for Keras takes configurations apart. Safe mode guards against code in files; this one
        # comes from live objects.
        with handing_on_masks():
            return keras.saving.deserialize_keras_object(
                copy.deepcopy(config), custom_objects=self.custom, safe_mode=False
            )


def blueprint_of(model: Any, weights: bool = False) -> Blueprint:
    """Reads a model.

    A `keras.layers.RNN` of an `LSTMCell` or a `GRUCell` counts as the layer that computes the same. Dropout
    that the recurrent layers have, by their own arguments or by a wrapper of this package, is left out.

    Args:
        model: A Keras model, which stays as it is.
        weights: Whether copies begin with its weights. With those of layers that are not trainable they do
            in any case.

    Raises:
        InvalidArgumentError: It is no model; it has no LSTM or GRU layers, or they are not in its
            configuration; it is not built where its weights are wanted; or it has a `compile` of its own.
    """
    if not isinstance(model, keras.Model):
        raise invalid_argument("model", expected="a Keras model", received=model)
    if weights and not model.built:
        raise invalid_argument(
            "keep_weights",
            expected="a model that has weights",
            received=True,
            fix="Build it first: give it a `keras.Input`, or call it on a batch.",
        )
    dropped: list[str] = []
    config, custom = configuration(model, _REBUILDABLE), custom_parts(walk(model))
    try:
        config = without_dropout(config, custom, dropped)
        layers = named_layers(list(recurrent_parts(config, custom, ())))
    except Exception as error:  # A user's layer may refuse in any way.
        raise not_made("model", model, parts_of_model(model), error, _MAKEABLE) from error
    config.pop("compile_config", None)
    if len(layers) < count_recurrent(model):
        raise _not_rebuilt(model.name)
    if not layers:
        raise _nothing_to_drop_in(model)
    found = Blueprint(
        config=config,
        compiled=compiled_parts(model),
        custom=custom,
        weights=_kept(model, weights),
        adapted=tuple(map(Adapted.of, adaptable(model))),
        layers=tuple(layers),
        dropped=tuple(dropped),
        shapes=tuple(tuple(weight.shape) for weight in plain_weights(model)),
    )
    found.check(model)
    return found


def _draw_alike(model: Any, plain: Any) -> None:
    """Has a model that is not built draw the weights that a plain copy of it would."""
    pair = [
        [part for part in parts_of_model(each) if isinstance(part, keras.initializers.Initializer)]
        for each in (model, plain)
    ]
    for one, other in zip(*pair, strict=True):
        vars(one).update(vars(other))


def _part(part: Any) -> Any:
    return part.make() if isinstance(part, Described) else part


def _name_of(loss: Any) -> str:
    return loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)


def _kept(model: Any, all_of_them: bool) -> tuple[Any, ...]:
    """Returns the weights that copies of a model begin with; `None` for each that is drawn anew."""
    frozen = {
        id(weight) for layer in walk(model) if not layer.trainable for weight in layer.weights
    }
    return tuple(
        keras.ops.convert_to_numpy(weight) if all_of_them or id(weight) in frozen else None
        for weight in plain_weights(model)
    )


def _nothing_to_drop_in(model: Any) -> RecdropError:
    kinds = dict.fromkeys(type(layer).__name__ for layer in walk(model) if layer is not model)
    return invalid_argument(
        "model",
        expected="a model with at least one LSTM or GRU layer",
        received=f"`{model.name}` of {', '.join(kinds) or 'no layers'}",
        fix="Of other recurrent layers no kernel call is known that dropout could be put into.",
    )


def _not_rebuilt(name: str) -> RecdropError:
    return invalid_argument(
        "model",
        expected="a model that Keras can make anew from its configuration, with all its recurrent layers",
        received=f"`{name}`, whose configuration lacks some of its layers",
        fix=_REBUILDABLE,
    )
