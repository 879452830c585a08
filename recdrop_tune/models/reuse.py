"""Uses a compiled model for another training, so that nothing is traced and compiled twice.

Two models have one structure if they compute the same functions of their variables: they may differ in
weights, in rates of this package's dropout, in the learning rate and in the state of their random
numbers, for all of these are variables. Their traced functions are then the same too.
"""

from __future__ import annotations

import functools
import json
from importlib import import_module
from numbers import Real
from typing import Any

import keras
import numpy as np

from recdrop_tune.models.disclosure import parts, undisclosed
from recdrop_tune.models.layers import (
    dropout_layers,
    is_of_layers,
    kept_states,
    learning_layers,
)
from recdrop_tune.models.learning import spare_rates
from recdrop_tune.models.parts import is_own

# A plain Python function is written down by its name alone, and two closures may share one.
_FUNCTION = "function"


def structure(model: Any) -> str | None:
    """Describes a compiled and built model without the values of its variables.

    Returns:
        A text that two models share if one can stand in for the other; `None` where that is unknown:
        for a subclassed model, or one with functions of the user's own inside, or with classes whose
        configuration lacks arguments.
    """
    if not _is_described(model):
        return None
    try:
        described = [model.get_config(), model.get_compile_config(), undisclosed(model)]
        plain = _without_values(keras.saving.serialize_keras_object(described))
        return json.dumps(plain, sort_keys=True)
    except (
        Exception
    ):  # Something in it has no configuration, or one that may not say all; or a user's fails.
        return None


def renew(model: Any, source: Any) -> bool:
    """Copies the state of a fresh model into a trained one of the same structure.

    Args:
        model: The trained model; it keeps its traced functions.
        source: The fresh model: its weights, rates, random states, optimizer state and the states of its
            stateful layers are copied.

    Returns:
        Whether this was possible; if not, `model` must not be used.
    """
    # A class made inside a build function is another one each time, whatever its name.
    if [type(part) for part in parts(model)] != [type(part) for part in parts(source)]:
        return False
    for each in (source, model):
        spare_rates(each)
        if not each.optimizer.built:  # One that scales losses would make its variables again.
            each.optimizer.build(each.trainable_variables)
    pairs = [
        (model.variables, source.variables),
        (model.optimizer.variables, source.optimizer.variables),
        (kept_states(model), kept_states(source)),
        (_own_metrics(model), _own_metrics(source)),
    ]
    if any(_shapes(old) != _shapes(new) for old, new in pairs):
        return False
    # First, for learned rates begin anew where one is set, and the fresh model may have gone on from there.
    for layer, other in zip(dropout_layers(model), dropout_layers(source), strict=True):
        layer.configured_rates = other.configured_rates
    counted = [(layer, layer.counted_samples) for layer in learning_layers(model)]
    for old, new in pairs:
        for variable, value in zip(old, new, strict=True):
            variable.assign(value)
    for layer, number in counted:
        # The fresh model has counted nothing, and what is traced divides by the number.
        layer.expect_samples(layer.counted_samples or number or None)
    model.stop_training = False
    return True


class SameDraws(keras.callbacks.Callback):
    """Shuffles the data for a model that is used again as for a fresh one, on Keras's jax and torch backends.

    The first `fit` of a model takes a batch there, to see its shape, before the training begins, and a
    permutation is drawn for it; later ones take none. So the random states that shuffle arrays, NumPy's
    and torch's, begin anew when the training does. On TensorFlow nothing has to be done, and nothing is.

    Only the first training of the callback begins anew: another `fit` in the same trial has an order of its
    own.

    Args:
        seed: Seed of the trial, 0 <= seed < 2**32; `None` leaves the random states alone.

    Example:
        >>> model.fit(x, y, callbacks=[SameDraws(seed=0)])
    """

    def __init__(self, seed: int | None) -> None:
        super().__init__()
        self._seed = seed

    def on_train_begin(self, logs: Any = None) -> None:
        """Seeds the random states, once."""
        seed, self._seed = self._seed, None
        backend = keras.backend.backend()
        if seed is None or backend == "tensorflow":
            return
        np.random.seed(seed)
        if backend == "torch":
            import_module("torch").manual_seed(seed)


def _own_metrics(model: Any) -> list[Any]:
    """Returns the variables of metrics of the user's own: Keras's begin anew in each epoch, these may not."""
    metrics = [part for part in parts(model) if isinstance(part, keras.metrics.Metric)]
    return [variable for each in metrics if is_own(type(each)) for variable in each.variables]


def _shapes(variables: Any) -> list[Any]:
    return [(tuple(each.shape), str(each.dtype), bool(each.trainable)) for each in variables]


def _is_described(model: Any) -> bool:
    """Says whether a model is one of layers alone that can be trained, with nothing of the user's on it."""
    ready = is_of_layers(model) and bool(model.built and model.compiled and model.optimizer)
    names = {name for name in vars(model) if name[0] != "_"}
    return ready and names <= _attributes(isinstance(model, keras.Sequential))


_OF_TRAINING = frozenset({"history", "stop_evaluating", "stop_predicting"})
"""What Keras sets on a model that is trained, evaluated or asked for predictions."""


@functools.cache
def _attributes(sequential: bool) -> frozenset[str]:
    """Returns the names of what a compiled model of Keras's has without anybody's doing."""
    inputs, layer = keras.Input((1,), name="input"), keras.layers.Identity(name="layer")
    if sequential:
        model = keras.Sequential([inputs, layer], name="model")
    else:
        model = keras.Model(inputs, layer(inputs), name="model")
    model.compile(keras.optimizers.SGD(name="optimizer"), "mse")
    return _OF_TRAINING.union(vars(model))


def _without_values(config: Any) -> Any:
    """Drops the values of variables from a configuration.

    Raises:
        ValueError: There is a function in it, whose name another function may have.
    """
    if isinstance(config, list | tuple):
        return [_without_values(part) for part in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == _FUNCTION:
        raise ValueError(f"{config} does not describe the function.")
    held = _held_by_variables(config)
    return {name: _without_values(held.get(name, value)) for name, value in config.items()}


def _held_by_variables(config: dict[str, Any]) -> dict[str, Any]:
    """Returns what to write in the place of the values of variables."""
    own = config.get("config")
    if not isinstance(own, dict):
        return {}
    if str(config.get("registered_name")).startswith("recdrop_tune>"):
        held = {name: None for name in ("rate", "seed") if name in own}
        # Of a further rate, whether it is 0 decides the kernel, its value does not.
        held |= {name: bool(own[name]) for name in own if name.endswith("_rate")}
        return {"config": {**own, **held}}
    # Of an optimizer of the user's own it is not known to be a variable.
    module = str(config.get("module")).split(".")  # With the torch backend it is deep inside.
    if (
        module[0] == "keras"
        and "optimizers" in module
        and isinstance(own.get("learning_rate"), Real)
    ):
        return {"config": {**own, "learning_rate": None}}
    return {}
