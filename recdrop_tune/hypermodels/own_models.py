"""Dropout in your own models: `ExistingModel`, and for build functions `dropout_model` and `dropout_rnn`."""

from __future__ import annotations

import re
from typing import Any

from recdrop_tune.errors import check_flag, invalid_argument, warn_caller
from recdrop_tune.hypermodels.extensions import ScheduledHyperModel
from recdrop_tune.kernels import cell_of
from recdrop_tune.models import Template
from recdrop_tune.spaces import DropoutSample, SearchSpace
from recdrop_tune.wrappers import check_emits_steps, check_wrappable, wrap


class ExistingModel(ScheduledHyperModel):
    """A compiled Keras model whose LSTM and GRU layers get dropout.

    Each trial trains a copy with these layers wrapped: in Sequential, functional and nested models, in
    `Bidirectional` and `TimeDistributed`, and as `keras.layers.RNN` of an `LSTMCell` or `GRUCell`.
    Optimizer, loss, metrics and all other layers stay the same. Dropout that the recurrent layers already
    have is removed, with a warning. The optimizer starts with its current learning rate.

    Args:
        model: A Sequential or functional model. It does not change.
        space: Anything that `SearchSpace.load` takes, with the keys of dropout: `wrapper`, `placement`,
            `rate`, `schedule`, the wrappers' options, and the decays of the last recurrent layer. Other
            keys of a preset are ignored.
        per_layer: Whether each recurrent layer has its own hyperparameters, such as `lstm/rate`.
        keep_weights: Whether trials start with the model's weights. Otherwise only frozen layers keep
            theirs.
        name: Name of the hypermodel.
        tunable: Whether Keras Tuner adds the hyperparameters to its search space.

    Raises:
        InvalidArgumentError: The model is not compiled, has no recurrent layers, or cannot be copied.
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
        self.space = _of_dropout(space)
        self.per_layer = check_flag("per_layer", per_layer)
        self.keep_weights = check_flag("keep_weights", keep_weights)
        self.template = Template(model, self.keep_weights)
        if self.template.compiled is None:
            raise invalid_argument(
                "model",
                expected="a compiled model",
                received=f"`{model.name}`, which is not compiled",
                fix="Compile it: `model.compile(optimizer, loss, metrics)`.",
            )
        if self.template.dropped:
            warn_caller(_DROPPED.format(", ".join(self.template.dropped)))
        super().__init__(name=name, tunable=tunable)

    def build(self, hp: Any) -> Any:
        """Builds and compiles the model with the dropout chosen by `hp`."""
        return _sample(hp, self.template, self.space, self.per_layer)


def dropout_model(
    hp: Any, model: Any, space: object = "lstm", per_layer: bool = False, keep_weights: bool = False
) -> Any:
    """Copies a model with the dropout chosen by `hp` in its LSTM and GRU layers, for build functions.

    Args:
        hp: The `keras_tuner.HyperParameters` of the build function.
        model: A Keras model, compiled or not. It does not change.
        space: Anything that `SearchSpace.load` takes; keys that are not about the dropout are ignored.
        per_layer: Whether each recurrent layer has its own hyperparameters.
        keep_weights: Whether the copy starts with the model's weights.

    Returns:
        The copy, compiled if the model is.

    Raises:
        InvalidArgumentError: The model has no recurrent layers or cannot be copied, or the space has a
            `schedule`.
        SearchSpaceError: The space is not valid.

    Example:
        >>> def build(hp):
        ...     layers = [keras.layers.LSTM(hp.Int("units", 16, 64)), keras.layers.Dense(1)]
        ...     model = recdrop_tune.dropout_model(hp, keras.Sequential([keras.Input((None, 3)), *layers]))
        ...     model.compile("adam", "mse")
        ...     return model
    """
    template = Template(model, check_flag("keep_weights", keep_weights))
    dropped = ", ".join(template.dropped)
    # Numbers apart: Keras numbers layers, and `hp` draws rates.
    kind = re.sub(r"_?\d[\d.e-]*", "", dropped)
    if dropped and kind not in _warned:
        _warned.add(kind)
        warn_caller(_DROPPED.format(dropped))
    loaded = SearchSpace.load(space)
    _refuse_schedule(loaded)
    return _sample(hp, template, loaded, check_flag("per_layer", per_layer))


def dropout_rnn(hp: Any, layer: Any, name: str | None = None, space: object = "lstm") -> Any:
    """Wraps a recurrent layer with the dropout chosen by the hyperparameters.

    It registers `wrapper`, `placement`, `rate`, the wrappers' options and the decays of activations on `hp`.
    The other keys of the space (the size of the model, the dropout around the layer) are ignored. Give decays
    to the last layer of a stack, as published.

    Args:
        hp: The `keras_tuner.HyperParameters` of the build function.
        layer: A `keras.layers.LSTM`, a `GRU`, or a `Bidirectional` of one, without `dropout` and
            `recurrent_dropout`, or the trials without dropout would still have it. Keras's own dropout is
            the wrapper `native` of the space.
        name: Prefixes the names of the hyperparameters with `name/`, so that each layer has its own
            dropout. Calls with the same name, or without one, share one setting.
        space: Anything that `SearchSpace.load` takes.

    Returns:
        The wrapped layer, to be called like the layer; `layer` itself for a trial without dropout and
        decays. Under one seed, the initial weights of later layers do not depend on the dropout.

    Raises:
        SearchSpaceError: The space is not valid.
        InvalidArgumentError: The layer cannot be wrapped, or has its own dropout; the space has a `schedule`,
            or a `temporal_decay` and the layer returns only its last step.

    Example:
        >>> import keras, keras_tuner
        >>> from recdrop_tune import dropout_rnn
        >>> space = {"wrapper": "recurrent", "placement": "recurrent", "rate": [0.2, 0.4]}
        >>> hp = keras_tuner.HyperParameters()
        >>> layer = dropout_rnn(hp, keras.layers.GRU(8), name="encoder", space=space)
        >>> hp.values
        {'encoder/wrapper': 'recurrent', 'encoder/placement': 'recurrent', 'encoder/rate': 0.2}
    """
    # Also for a trial without dropout, or that one would have the layer's own.
    check_wrappable(layer)
    loaded = SearchSpace.load(space)
    _refuse_schedule(loaded)
    if loaded.temporal_decay:
        check_emits_steps(layer)
    sample = loaded.sample_dropout(hp, name, str(cell_of(layer)))
    return wrap(layer, sample.wrapper, **sample.wrap_arguments(), **sample.decays)


def _refuse_schedule(space: SearchSpace) -> None:
    """Raises if the space of a build function has a schedule, which only a `fit` can apply."""
    if space.schedule:
        raise invalid_argument(
            "space",
            expected="no `schedule`: a build function adds no callback that changes rates",
            received={"schedule": space.schedule},
            fix=f'Add `recdrop_tune.RateSchedule("{space.schedule}")` to the callbacks of the search.',
        )


_warned: set[str] = set()
"""Removed dropout that `dropout_model` has warned about: each trial calls it, and one warning is enough."""

_DROPPED = (
    "The model has dropout in its recurrent layers: {}. It is removed, because the search chooses it. "
    "Keras's own dropout is the wrapper `native`; decays are keys of the space."
)


def _of_dropout(given: object) -> SearchSpace:
    """Loads a space of dropout. A preset can have other keys, too."""
    space = SearchSpace.load(given)
    dropout = space.of_dropout()
    others = sorted(space.to_dict().keys() - dropout.to_dict().keys())
    if others and space not in map(SearchSpace.load, SearchSpace.presets()):
        raise invalid_argument(
            "space",
            expected="a space of dropout alone: the model has everything else",
            received=f"one with {', '.join(others)}",
            fix="Leave out these keys, or write a build function with "
            "`recdrop_tune.dropout_model(hp, model, space)`.",
        )
    return dropout


def _sample(hp: Any, template: Template, space: SearchSpace, per_layer: bool) -> Any:
    samples: dict[str | None, DropoutSample] = {}
    of_last_steps = space.model_copy(update={"temporal_decay": None})
    decaying: list[Any] = []

    def with_dropout(number: int, layer: Any) -> Any:
        name = template.names[number] if per_layer else None
        if name not in samples:
            # One choice for both cells must not ask for an option that only the LSTM has.
            cell = template.cells[number] if per_layer or len(set(template.cells)) == 1 else "gru"
            # Temporal decay needs all steps.
            asked = of_last_steps if per_layer and not layer.return_sequences else space
            samples[name] = asked.sample_dropout(hp, name, cell)
        sample, decays = samples[name], dict[str, Any]()
        # The last layer of a stack has the decays, as published.
        if per_layer or number == len(template.names) - 1:
            decaying.append(layer)
            decays = sample.decays
        if sample.wrapper == "none" and not any(decays.values()):
            return layer
        own = {"name": layer.name, "trainable": layer.trainable}
        return wrap(layer, sample.wrapper, **sample.wrap_arguments(), **decays, **own)

    model = template.build(with_dropout)
    if space.temporal_decay and not any(layer.return_sequences for layer in decaying):
        check_emits_steps(decaying[-1])
    return model
