"""Copies of a model, with other layers in the place of its LSTM and GRU layers."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import RecdropError, invalid_argument
from recdrop_tune.kernels import compile_arguments, excluded_from_decay, lost_arguments
from recdrop_tune.models.layers import plain_weights, walk
from recdrop_tune.models.plain import configuration, is_custom
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
        if plain.built:
            drawn = zip(
                self.weights or [None] * len(plain.weights), plain.get_weights(), strict=True
            )
            for weight, (kept, new) in zip(plain_weights(model), drawn, strict=True):
                weight.assign(new if kept is None else kept)
        for layer, learned in zip(_adaptable(model), self.adapted, strict=True):
            learned.give(layer)
        if self.compiled is not None:
            model.compile(**keras.tree.map_structure(self._part, self.compiled))
        return model

    def check(self) -> None:
        """Makes a plain copy.

        Raises:
            InvalidArgumentError: That is not possible, or it has not all the layers of the model.
        """
        try:
            made = self._make(self.config)
        except Exception as error:
            raise invalid_argument(
                "model",
                expected="a model that Keras can make anew from its configuration",
                received=f"one of which it says {type(error).__name__}: {str(error).splitlines()[0]}",
                fix="Give classes of your own a `get_config` with all their arguments, and an `__init__` "
                "that hands `**kwargs` on; or write a build function with "
                "`recdrop_tune.dropout_rnn(hp, layer)`.",
            ) from error
        if self.weights and [tuple(w.shape) for w in made.weights] != list(self.shapes):
            raise _not_rebuilt(made.name)

    def _part(self, part: Any) -> Any:
        return part.finish(self._make(part.config)) if isinstance(part, Described) else part

    def _make(self, config: Config) -> Any:
        # A copy, for Keras takes configurations apart. Safe mode guards against code in files; this one
        # comes from live objects.
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
    custom = _customs(model)
    dropped: list[str] = []
    config = without_dropout(configuration(model, _REBUILDABLE), custom, dropped)
    config.pop("compile_config", None)
    layers, live = named_layers(list(recurrent_parts(config, custom, ()))), count_recurrent(model)
    if len(layers) < live:
        raise _not_rebuilt(model.name)
    if not layers:
        raise _nothing_to_drop_in(model)
    found = Blueprint(
        config=config,
        compiled=_compiled(model, custom),
        custom=custom,
        weights=_kept(model, weights),
        adapted=tuple(map(Adapted.of, _adaptable(model))),
        layers=tuple(layers),
        dropped=tuple(dropped),
        shapes=tuple(tuple(weight.shape) for weight in plain_weights(model)),
    )
    found.check()
    return found


def _customs(model: Any) -> dict[str, Any]:
    """Returns the classes and functions in a model that are not Keras's, by the name that it writes down.

    Raises:
        InvalidArgumentError: Two of them have one name.
    """
    found: dict[str, Any] = {}
    for layer in walk(model):
        # Keras puts its own around some methods of a layer: these are no parts of it.
        parts = [part for name, part in vars(layer).items() if not hasattr(type(layer), name)]
        named: list[Any] = [part for part in parts if isinstance(part, FunctionType)]
        named += [type(part) for part in (layer, *parts) if hasattr(part, "get_config")]
        for each in named:
            # A lambda is written down with its code.
            if str(each.__module__).startswith("keras.") or each.__name__ == "<lambda>":
                continue
            if found.setdefault(each.__name__, each) is not each:
                raise invalid_argument(
                    "model",
                    expected="one in which each class and function of yours has a name of its own",
                    received=f"two that are called `{each.__name__}`",
                )
    return found


def _kept(model: Any, all_of_them: bool) -> tuple[Any, ...]:
    """Returns the weights that copies of a model begin with; `None` for each that is drawn anew."""
    frozen = {
        id(weight) for layer in walk(model) if not layer.trainable for weight in layer.weights
    }
    return tuple(
        keras.ops.convert_to_numpy(weight) if all_of_them or id(weight) in frozen else None
        for weight in plain_weights(model)
    )


def _adaptable(model: Any) -> list[Any]:
    """Lists the layers that learn from data by `adapt`, of which a configuration says nothing."""
    return [layer for layer in walk(model) if callable(getattr(layer, "adapt", None))]


@dataclass(frozen=True)
class Adapted:
    """What a layer has learned of data by `adapt`.

    Attributes:
        variables: The variables that it saves, by name.
        vocabulary: Its vocabulary; `None` if it has none.
    """

    variables: dict[str, Any]
    vocabulary: list[Any] | None

    @classmethod
    def of(cls, layer: Any) -> Adapted:
        """Reads it off a layer."""
        variables: dict[str, Any] = {}
        if layer.built:
            layer.save_own_variables(variables)
        if not hasattr(layer, "get_vocabulary"):
            return cls({name: np.array(value) for name, value in variables.items()}, None)
        words = list(layer.get_vocabulary(include_special_tokens=False))
        if not words or layer.get_config().get("output_mode") != "tf_idf":
            return cls({}, words or None)
        raise invalid_argument(
            "model",
            expected="a model whose words are not counted by tf-idf: these weights cannot be copied",
            received=f"the layer `{layer.name}`",
            fix="Apply that layer to the data before the search.",
        )

    def give(self, layer: Any) -> None:
        """Hands it to a copy of the layer."""
        if self.vocabulary is not None:
            layer.set_vocabulary(self.vocabulary)
        elif self.variables:
            layer.load_own_variables(self.variables)


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


# What a model is compiled with.


@dataclass(frozen=True)
class Described:
    """An optimizer or a metric, which has a state: each copy of a model has another one."""

    config: Config
    undecayed: str | None = None
    """Names of variables that an optimizer excludes from weight decay, as a pattern."""

    @classmethod
    def of(cls, part: Any) -> Described:
        """Describes an optimizer or a metric.

        Raises:
            InvalidArgumentError: It is an optimizer that excludes variables from weight decay: a copy of the
                model has others.
        """
        config = keras.saving.serialize_keras_object(part)
        config = {**config, "config": {**config["config"], **lost_arguments(part)}}
        names, variables = excluded_from_decay(part)
        if not variables:
            return cls(config, names)
        raise invalid_argument(
            "model",
            expected="an optimizer whose exclusions from weight decay can be copied",
            received="variables of this model, as `exclude_from_weight_decay(var_list=...)`",
            fix='Name them: `exclude_from_weight_decay(var_names=["bias"])`.',
        )

    def finish(self, made: Any) -> Any:
        """Tells what was made of the configuration what that has not."""
        if self.undecayed is not None:
            decaying = getattr(made, "inner_optimizer", made)
            decaying.exclude_from_weight_decay(var_names=[self.undecayed])
        return made


def _name_of(loss: Any) -> str:
    return loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)


def _compiled(model: Any, custom: dict[str, Any]) -> Config | None:
    """Returns what a model is compiled with; adds to `custom` the classes in it that are not Keras's."""
    if not model.compiled:
        return None
    if type(model).compile is not keras.Model.compile:
        raise invalid_argument(
            "model",
            expected="a model with Keras's own `compile`, whose arguments can be copied",
            received=type(model).__name__,
            fix="Write a build function: `model = recdrop_tune.dropout_model(hp, new_model())` of a model "
            "that is not compiled yet, then `model.compile(...)`.",
        )
    # A loss has no state, and is not written down as it is: Keras 3.15 leaves out the delta of a Huber loss.
    stateful = keras.optimizers.Optimizer | keras.metrics.Metric

    def described(part: Any) -> Any:
        if not isinstance(part, stateful):
            return part
        owned = [part, *vars(part).values()]  # A schedule of the learning rate, say.
        for each in filter(is_custom, (each for each in owned if hasattr(each, "get_config"))):
            custom[type(each).__name__] = type(each)
        return Described.of(part)

    found: Config = keras.tree.map_structure(described, compile_arguments(model))
    return found
