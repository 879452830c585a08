"""A model that is there already: the search for the dropout of its recurrent layers."""

from __future__ import annotations

import re
from typing import Any

import keras_tuner

from recdrop_tune.errors import check_flag, invalid_argument, warn_caller
from recdrop_tune.hypermodels.recurrent_layers import (
    check_hyperparameters,
    check_schedule,
    check_temporal_decay,
)
from recdrop_tune.hypermodels.scheduling import request_schedule
from recdrop_tune.models import Blueprint, RecurrentLayer, blueprint_of
from recdrop_tune.spaces import DropoutSample, SearchSpace
from recdrop_tune.wrappers import wrap


class ExistingModel(keras_tuner.HyperModel):
    """A compiled Keras model, to search for the dropout of its LSTM and GRU layers.

    Each trial trains a copy of the model in which these layers are wrapped, wherever they stand: in
    Sequential, functional and nested models, in `Bidirectional` and `TimeDistributed`, and as
    `keras.layers.RNN` of an `LSTMCell` or a `GRUCell`, which becomes the layer that computes the same. All
    else is the model's: optimizer, loss, metrics, and other dropout such as `keras.layers.Dropout`. Dropout
    that the recurrent layers have already is taken off, and a warning says so: the search takes its place.
    The optimizer begins with the learning rate that it has now, which training may have lowered.

    Args:
        model: The model. It stays as it is, and is not needed any more afterwards.
        space: Anything that `SearchSpace.load` takes. Its keys are those of the dropout: `wrapper`,
            `placement`, `rate`, `schedule`, the wrappers' options, and the decays of activations, which are
            those of the last recurrent layer; of a preset the others are left out.
        per_layer: Whether each recurrent layer has a dropout, and decays, of its own, with the
            hyperparameters `lstm/rate`, `encoder/rate`; by default one choice holds for all of them.
        keep_weights: Whether each trial begins with the weights of the model, for fine-tuning; by default it
            begins with fresh ones, but for layers that are not trainable.
        name: Name of the hypermodel.
        tunable: Whether Keras Tuner adds the hyperparameters to its search space.

    Raises:
        InvalidArgumentError: The model is not compiled, has no recurrent layers, or cannot be copied: a class
            of yours in it, or a metric or the optimizer, has a `get_config` without all its arguments, say.
        SearchSpaceError: The space is not valid.

    Example:
        >>> import keras, keras_tuner
        >>> model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(8), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> hypermodel = ExistingModel(model, space={"wrapper": "recurrent", "rate": 0.3})
        >>> hypermodel.build(keras_tuner.HyperParameters()).layers[0].rate
        0.3
    """

    def __init__(
        self,
        model: Any,
        space: object = "quick",
        per_layer: bool = False,
        keep_weights: bool = False,
        name: str | None = None,
        tunable: bool = True,
    ) -> None:
        self.space = _space(space)
        self.per_layer = check_flag("per_layer", per_layer)
        self.keep_weights = check_flag("keep_weights", keep_weights)
        self.blueprint = blueprint_of(model, self.keep_weights)
        if self.blueprint.compiled is None:
            raise invalid_argument(
                "model",
                expected="a compiled model, whose optimizer, loss and metrics each trial takes",
                received=f"`{model.name}`, which is not compiled",
                fix="Compile it: `model.compile(optimizer, loss, metrics)`.",
            )
        _warn_of_dropped(self.blueprint)
        super().__init__(name=name, tunable=tunable)

    def build(self, hp: Any) -> Any:
        """Builds and compiles the model with the dropout that the hyperparameters name.

        Args:
            hp: `keras_tuner.HyperParameters`; the space is registered on it.
        """
        return _copy(hp, self.blueprint, self.space, self.per_layer)


def dropout_model(
    hp: Any,
    model: Any,
    space: object = "lstm",
    per_layer: bool = False,
    keep_weights: bool = False,
) -> Any:
    """Copies a model with the dropout that the hyperparameters name in its LSTM and GRU layers.

    It is what `ExistingModel` does, inside a build function: the rest of the model may depend on `hp` too.
    As with `dropout_rnn`, a schedule takes a callback in `fit`.

    Args:
        hp: The `keras_tuner.HyperParameters` that the build function was called with.
        model: A Keras model, compiled or not. It stays as it is.
        space: Anything that `SearchSpace.load` takes; used are the keys that `dropout_rnn` uses.
        per_layer: Whether each recurrent layer has a dropout of its own.
        keep_weights: Whether the copy begins with the weights of the model.

    Returns:
        The copy, compiled as the model is.

    Raises:
        InvalidArgumentError: The model has no recurrent layers, or cannot be copied; or the space has a
            `schedule` and there is no callback to carry it out.
        SearchSpaceError: The space is not valid.

    Example:
        >>> def build(hp):
        ...     layers = [keras.layers.LSTM(hp.Int("units", 16, 64)), keras.layers.Dense(1)]
        ...     model = recdrop_tune.dropout_model(hp, keras.Sequential([keras.Input((None, 3)), *layers]))
        ...     model.compile("adam", "mse")
        ...     return model
    """
    check_hyperparameters(hp)
    found = blueprint_of(model, check_flag("keep_weights", keep_weights))
    _warn_of_dropped(found, once=True)
    return _copy(hp, found, SearchSpace.load(space), check_flag("per_layer", per_layer))


def _space(given: object) -> SearchSpace:
    """Reads a space of dropout; a preset may have more in it."""
    space = SearchSpace.load(given)
    dropout = space.of_dropout()
    others = sorted(space.to_dict().keys() - dropout.to_dict().keys())
    if others and not (isinstance(given, str) and given in SearchSpace.presets()):
        raise invalid_argument(
            "space",
            expected="a space of dropout alone beside a model, which has all else",
            received=f"one with {', '.join(others)}",
            fix="Leave out these keys. To search for them too, write a build function that makes the model "
            "with `hp` and ends with `recdrop_tune.dropout_model(hp, model, space)`.",
        )
    return dropout


def _copy(hp: Any, found: Blueprint, space: SearchSpace, per_layer: bool) -> Any:
    check_schedule(space)
    samples: dict[str | None, DropoutSample] = {}
    cells = {place.cell for place in found.layers}
    of_last_steps = space.model_copy(update={"temporal_decay": None})
    decaying: list[Any] = []

    def with_dropout(place: RecurrentLayer, layer: Any) -> Any:
        name = place.name if per_layer else None
        if name not in samples:
            # What only one of the cells has, is not asked for both.
            cell = place.cell if per_layer or len(cells) == 1 else "gru"
            # Of several layers those have the temporal decay that emit their steps.
            asked = of_last_steps if per_layer and not layer.return_sequences else space
            samples[name] = asked.sample_dropout(hp, name, cell)
        sample = samples[name]
        decays: dict[str, Any] = {}
        # Of a stack the last layer has them, as published.
        if per_layer or place is found.layers[-1]:
            decaying.append(layer)
            decays = sample.decays
        if sample.wrapper == "none" and not any(decays.values()):
            return layer
        own = {"name": layer.name, "trainable": layer.trainable}
        wrapped = wrap(layer, sample.wrapper, **sample.wrap_arguments(), **decays, **own)
        if space.schedule is not None:
            request_schedule(wrapped, sample.schedule)
        return wrapped

    made = found.build(with_dropout)
    if not any(layer.return_sequences for layer in decaying):
        check_temporal_decay(space, decaying[-1])
    return made


_warned: set[str] = set()


def _warn_of_dropped(found: Blueprint, once: bool = False) -> None:
    """Warns of dropout that copies lack; `once` in the process for a function that each trial calls."""
    # Python shows a warning once a line, but forgets that at every `catch_warnings` of a library. Layers of
    # one build function differ in numbers: those of Keras's names, and rates that `hp` draws.
    kind = re.sub(r"_?\d[\d.e-]*", "", ", ".join(found.dropped))
    if found.dropped and not (once and kind in _warned):
        _warned.add(kind)
        warn_caller(
            f"The model has dropout in its recurrent layers: {', '.join(found.dropped)}. It is taken off in "
            "each trial, for the search takes its place. Keras's own dropout is the wrapper `native` of the "
            "space, and the decays of an `ActivityDecay` are keys of it."
        )
