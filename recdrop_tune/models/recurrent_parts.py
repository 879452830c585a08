"""The recurrent layers in the configuration of a model: where they stand, and their dropout taken off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.kernels import cell_of, merges_as_keras
from recdrop_tune.models.layers import walk
from recdrop_tune.rewrites import Cell
from recdrop_tune.wrappers import ActivityDecay, RecurrentWrapper, is_default_name

Config = dict[str, Any]
"""A layer or model as Keras writes it down: its class, and the arguments to make it with."""

Path = tuple[Any, ...]
"""The keys and indices that lead to a part of a configuration."""

_FUSED = {"LSTMCell": "LSTM", "GRUCell": "GRU"}
"""The layers that compute what a `keras.layers.RNN` of a cell does, and have the same weights."""

_CLASSES = ["RNN", "LSTM", "GRU", "Bidirectional", ActivityDecay.__name__]
_CLASSES += [each.class_name for each in TECHNIQUES.values() if each.class_name]
"""What Keras calls recurrent layers by that were given no name."""

_OWN_RATES = ("dropout", "recurrent_dropout")


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


def _class_of(config: Any, custom: dict[str, Any]) -> type | None:
    """Returns the class of a layer that is written down; `None` for anything else."""
    name = config.get("class_name") if isinstance(config, dict) else None
    if not isinstance(name, str) or not isinstance(config.get("config"), dict):
        return None
    keras_own = str(config.get("module")).startswith("keras.")
    found = getattr(keras.layers, name, None) if keras_own else custom.get(name)
    return found if isinstance(found, type) else None


def without_dropout(config: Any, custom: dict[str, Any], dropped: list[str]) -> Any:
    """Returns a configuration whose recurrent layers drop nothing; notes in `dropped` which of them did."""
    if isinstance(config, list | tuple):
        return [without_dropout(part, custom, dropped) for part in config]
    if not isinstance(config, dict):
        return config
    kind = _class_of(config, custom)
    if kind is not None and issubclass(kind, RecurrentWrapper):
        dropped.append(f"{config['config']['name']} ({kind.__name__})")
        return without_dropout(_unwrapped(config), custom, dropped)
    if kind is keras.layers.RNN:
        config = _fused(config)
    config = {key: without_dropout(value, custom, dropped) for key, value in config.items()}
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


def recurrent_parts(
    config: Any, custom: dict[str, Any], path: Path
) -> Iterator[tuple[Path, Any, Cell]]:
    """Yields where the recurrent layers stand in a configuration, with a copy and the cell of each."""
    kind = _class_of(config, custom)
    wrappable = keras.layers.LSTM | keras.layers.GRU | keras.layers.Bidirectional
    if kind is not None and issubclass(kind, wrappable):
        layer = keras.saving.deserialize_keras_object(config, custom, safe_mode=False)
        if (cell := cell_of(layer)) is not None:
            yield path, layer, cell
        return
    if isinstance(config, dict | list):
        parts = config.items() if isinstance(config, dict) else enumerate(config)
        for key, part in parts:
            yield from recurrent_parts(part, custom, (*path, key))


def named_layers(found: list[tuple[Path, Any, Cell]]) -> list[RecurrentLayer]:
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


def part_at(config: Any, path: Path) -> Any:
    """Returns the part of a configuration that a path leads to."""
    for key in path:
        config = config[key]
    return config


def count_recurrent(model: Any) -> int:
    """Counts the recurrent layers of a live model; a `Bidirectional` and what it holds are one."""
    layers = list(walk(model))
    outer = RecurrentWrapper | keras.layers.Bidirectional
    held = {id(part) for each in layers if isinstance(each, outer) for part in list(walk(each))[1:]}
    return sum(_is_recurrent(each) for each in layers if id(each) not in held)


def _is_recurrent(layer: Any) -> bool:
    if isinstance(layer, RecurrentWrapper):
        return _is_recurrent(layer.layer)
    if isinstance(layer, keras.layers.Bidirectional):
        return merges_as_keras(layer) and _is_recurrent(layer.forward_layer)
    if type(layer) is keras.layers.RNN:
        return type(layer.cell) in (keras.layers.LSTMCell, keras.layers.GRUCell)
    return cell_of(layer) is not None
