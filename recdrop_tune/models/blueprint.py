"""Copies of a model, with other layers in the place of its LSTM and GRU layers."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any

import keras
import numpy as np

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.errors import RecdropError, invalid_argument
from recdrop_tune.kernels import cell_of, compile_arguments, lost_arguments
from recdrop_tune.models.layers import walk
from recdrop_tune.models.plain import configuration, is_custom
from recdrop_tune.rewrites import Cell
from recdrop_tune.wrappers import AbstractDropoutWrapper, is_default_name

Config = dict[str, Any]
"""A layer or model as Keras writes it down: its class, and the arguments to make it with."""

Path = tuple[Any, ...]
"""The keys and indices that lead to a part of a configuration."""

_FUSED = {"LSTMCell": "LSTM", "GRUCell": "GRU"}
"""The layers that compute what a `keras.layers.RNN` of a cell does, and have the same weights."""

_CLASSES = ["RNN", "LSTM", "GRU", "Bidirectional"]
_CLASSES += [each.class_name for each in TECHNIQUES.values() if each.class_name]
"""What Keras calls recurrent layers by that were given no name."""

_OWN_RATES = ("dropout", "recurrent_dropout")

_REBUILDABLE = (
    "Describe it as a Sequential or functional model; or write a build function that hands its recurrent "
    "layers to `recdrop_tune.dropout_rnn(hp, layer)`."
)


@dataclass(frozen=True)
class RecurrentLayer:
    """A recurrent layer that a model can be copied with another one in the place of.

    Attributes:
        name: A name for it that is the same whenever the model is made again: the one that it was given; of
            one without, that of its class, numbered as the layers stand in the model.
        cell: `"lstm"` or `"gru"`.
        path: Where it stands in the configuration of the model.
    """

    name: str
    cell: Cell
    path: Path


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
            described = _at(config, place.path)
            layer = self._make(described)
            changed = change(place, layer)
            if changed is not layer:
                described.update(keras.saving.serialize_keras_object(changed), build_config=None)
        model = self._make(config)
        if plain.built:
            drawn = zip(
                self.weights or [None] * len(plain.weights), plain.get_weights(), strict=True
            )
            model.set_weights([new if kept is None else kept for kept, new in drawn])
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
        return self._make(part.config) if isinstance(part, Described) else part

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
    config = _without_dropout(configuration(model, _REBUILDABLE), custom, dropped)
    config.pop("compile_config", None)
    layers, live = _named(list(_recurrent(config, custom, ()))), _count(model)
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
        shapes=tuple(tuple(weight.shape) for weight in model.weights),
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
        for weight in model.weights
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


# The layers in a configuration.


def _class_of(config: Any, custom: dict[str, Any]) -> type | None:
    """Returns the class of a layer that is written down; `None` for anything else."""
    name = config.get("class_name") if isinstance(config, dict) else None
    if not isinstance(name, str) or not isinstance(config.get("config"), dict):
        return None
    keras_own = str(config.get("module")).startswith("keras.")
    found = getattr(keras.layers, name, None) if keras_own else custom.get(name)
    return found if isinstance(found, type) else None


def _without_dropout(config: Any, custom: dict[str, Any], dropped: list[str]) -> Any:
    """Returns a configuration whose recurrent layers drop nothing; notes in `dropped` which of them did."""
    if isinstance(config, list | tuple):
        return [_without_dropout(part, custom, dropped) for part in config]
    if not isinstance(config, dict):
        return config
    kind = _class_of(config, custom)
    if kind is not None and issubclass(kind, AbstractDropoutWrapper):
        dropped.append(f"{config['config']['name']} ({kind.__name__})")
        return _without_dropout(_unwrapped(config), custom, dropped)
    if kind is keras.layers.RNN:
        config = _fused(config)
    config = {key: _without_dropout(value, custom, dropped) for key, value in config.items()}
    kind = _class_of(config, custom)
    if kind is not None and any(map(partial(_computes_as, kind), _KINDS)):
        config["config"] = _stripped(config["config"], dropped)
    return config


_KINDS = (keras.layers.LSTM, keras.layers.GRU)


def _computes_as(kind: Any, base: Any) -> bool:
    """Says whether a class computes what a layer of Keras's does: whether `cell_of` knows its layers."""
    own = issubclass(kind, base)
    return own and kind.call is base.call and kind.inner_loop is base.inner_loop


def _unwrapped(config: Config) -> Config:
    """Returns the configuration of a wrapped layer, in the wrapper's place and under its name."""
    own, inner = config["config"], config["config"]["layer"]
    renamed = {**inner["config"], "name": own["name"]}
    if "go_backwards" in own:  # how a Bidirectional makes its backward layer
        renamed["go_backwards"] = own["go_backwards"]
    return {**config, "build_config": None, **inner, "config": renamed}


def _fused(config: Config) -> Config:
    """Returns the LSTM or GRU that computes what an `RNN` of a cell does; the `RNN` if there is none."""
    own = dict(config["config"])
    cell: Any = own.pop("cell", None)
    kind = _FUSED.get(str(cell.get("class_name"))) if isinstance(cell, dict) else None
    if kind is None or not str(cell.get("module")).startswith("keras."):
        return config
    return {**config, "class_name": kind, "config": {**cell["config"], **own}, "build_config": None}


def _stripped(own: Config, dropped: list[str]) -> Config:
    """Takes dropout off the arguments of an LSTM or GRU."""
    rates = {name: own[name] for name in _OWN_RATES if own.get(name)}
    if not rates:
        return own
    words = f"{own['name']} ({', '.join(f'{name}={rate}' for name, rate in rates.items())})"
    # The backward layer of a `Bidirectional` has what the forward layer has.
    if not str(own["name"]).startswith("backward_"):
        dropped.append(words.removeprefix("forward_"))
    return {**own, **dict.fromkeys(rates, 0.0)}


def _recurrent(config: Any, custom: dict[str, Any], path: Path) -> Iterator[tuple[Path, Any, Cell]]:
    """Yields where the recurrent layers stand in a configuration, with a copy and the cell of each."""
    kind = _class_of(config, custom)
    wrappable = keras.layers.LSTM | keras.layers.GRU | keras.layers.Bidirectional
    if kind is not None and issubclass(kind, wrappable):
        layer = keras.saving.deserialize_keras_object(config, custom, safe_mode=False)
        if (cell := cell_of(getattr(layer, "forward_layer", layer))) is not None:
            yield path, layer, cell
        return
    if isinstance(config, dict | list):
        parts = config.items() if isinstance(config, dict) else enumerate(config)
        for key, part in parts:
            yield from _recurrent(part, custom, (*path, key))


def _named(found: list[tuple[Path, Any, Cell]]) -> list[RecurrentLayer]:
    """Gives each layer a name of its own."""
    layers: list[RecurrentLayer] = []
    for path, layer, cell in found:
        own = type(layer).__name__
        made = any(is_default_name(layer.name, each) for each in (own, *_CLASSES))
        name = own.lower() if made else layer.name
        taken = {each.name for each in layers}
        numbered = (f"{name}_{number}" for number in range(1, len(found) + 1))
        free = name if name not in taken else next(each for each in numbered if each not in taken)
        layers.append(RecurrentLayer(free, cell, path))
    return layers


def _at(config: Any, path: Path) -> Any:
    for key in path:
        config = config[key]
    return config


def _count(model: Any) -> int:
    """Counts the recurrent layers of a live model; a `Bidirectional` and what it holds are one."""
    layers = list(walk(model))
    outer = AbstractDropoutWrapper | keras.layers.Bidirectional
    held = {id(part) for each in layers if isinstance(each, outer) for part in list(walk(each))[1:]}
    return sum(_is_recurrent(each) for each in layers if id(each) not in held)


def _is_recurrent(layer: Any) -> bool:
    if isinstance(layer, AbstractDropoutWrapper):
        return _is_recurrent(layer.layer)
    if isinstance(layer, keras.layers.Bidirectional):
        return _is_recurrent(layer.forward_layer)
    if type(layer) is keras.layers.RNN:
        return type(layer.cell) in (keras.layers.LSTMCell, keras.layers.GRUCell)
    return cell_of(layer) is not None


# What a model is compiled with.


@dataclass(frozen=True)
class Described:
    """An optimizer or a metric, which has a state: each copy of a model has another one."""

    config: Config


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
        config = keras.saving.serialize_keras_object(part)
        return Described({**config, "config": {**config["config"], **lost_arguments(part)}})

    found: Config = keras.tree.map_structure(described, compile_arguments(model))
    return found
