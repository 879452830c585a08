"""Writes the best model as code to keep: a script that builds and compiles it, or the lines to change.

A model whose layers form a line, each called on the result of the one before, becomes a script. Every
hypermodel of this package builds such a model. Any other model is code that its author already has: the
search adds the dropout of each recurrent layer and the learning rate, and only these lines are written.
"""

from __future__ import annotations

import inspect
import json
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.kernels import (
    call_of,
    compile_arguments,
    excluded_from_decay,
    lost_arguments,
    mask_of,
)
from recdrop_tune.models.copies import lambdas_allowed
from recdrop_tune.models.layers import is_known, is_of_layers, learning_layers, own_layers, walk
from recdrop_tune.models.masks import is_masked, passes_masks
from recdrop_tune.wrappers import ActivityDecay, RecurrentWrapper, is_default_name

_TECHNIQUES = {each.class_name: each.id for each in TECHNIQUES.values() if each.class_name}
_TECHNIQUES[ActivityDecay.__name__] = "none"
_COMPILED = ("optimizer", "loss", "metrics")
_MODULES = ["layers", "optimizers", "optimizers.schedules", "losses", "metrics"]
_MODULES += ["activations", "initializers", "regularizers", "constraints"]
_ALWAYS = ("placement", "rate", "learning_rate")
"""Arguments that are written even if they have their default."""
_REQUIRED = inspect.Parameter.empty


@lambdas_allowed()
def best_code(
    model: Any,
    epochs: int | None = None,
    *,
    seed: int | None = None,
    schedule: str = "constant",
    schedule_epochs: int | None = None,
    padding: Mapping[str, Any] | None = None,
    **fit: Any,
) -> str:
    """Writes a script for a model, or the lines to change in the code that builds it.

    Args:
        model: The model, compiled.
        epochs: For how many epochs to train it; None writes no call of `fit`.
        seed: Seed of weights, masks and Keras's shuffling, whose order is not that of a search.
        schedule: The schedule of its dropout in training.
        schedule_epochs: For how many epochs the schedule is made, if not `epochs`.
        padding: `value` and `dtype` of sequences that are padded at their end; None pads none.
        **fit: Further arguments of `fit`, such as `batch_size` and `class_weight`.

    Returns:
        Python source. A script defines `model`, and trains it on `x_train` and `y_train`, which you define.
        Weights are not in it. A comment names what else is missing.

    Example:
        >>> print(best_code(model, epochs=20))
        import keras
        import recdrop_tune as rdt
        <BLANKLINE>
        inputs = keras.Input((None, 8))
        x = rdt.wrap(keras.layers.LSTM(64), "recurrent", placement="recurrent", rate=0.05)(inputs)
        x = keras.layers.Dense(10, activation="softmax")(x)
        model = keras.Model(inputs, x)
        model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.003), loss="mse")
        # x_train and y_train: all your data. Instead of both, pass a dataset alone.
        model.fit(x_train, y_train, epochs=20)
    """
    writer, calls = _Writer(), _line(model)
    lines = [] if seed is None else [f"keras.utils.set_random_seed({seed})"]
    lines += writer.changes(model) if calls is None else writer.script(model, calls)
    compiled = compile_arguments(model) if model.compiled else {}
    if compiled:
        given = {name: compiled[name] for name in _COMPILED if compiled[name]}
        lines.append(f"model.compile({writer.arguments('', given)})")
    if missing := [*_missing(model, compiled)]:
        lines.append(f"# Not written here: {', '.join(missing)}")
    if epochs is not None:
        lines += writer.training(
            model, {"epochs": epochs, **fit}, schedule, schedule_epochs, padding
        )
    imports = sorted(writer.imports, key=lambda line: (line.startswith("from"), line))
    yours = [f"# Import or define: {', '.join(sorted(writer.yours))}"] if writer.yours else []
    return "\n".join([*imports, *yours, "", *lines]) + "\n"


def _missing(model: Any, compiled: Mapping[str, Any]) -> Iterator[str]:
    """Yields the names of what the code lacks."""
    if (policy := keras.config.dtype_policy().name) != "float32":
        yield f"the dtype policy `{policy}`"
    for name, parameter in inspect.signature(keras.Model.compile).parameters.items():
        if name in compiled and name not in _COMPILED and compiled[name] != parameter.default:
            yield f"`{name}` of `compile`"
    names, variables = excluded_from_decay(model.optimizer) if compiled else (None, False)
    if names or (variables and not learning_layers(model)):  # For learned rates, `fit` does it.
        yield "`exclude_from_weight_decay` of the optimizer"


def _line(model: Any) -> list[tuple[Any, dict[str, Any]]] | None:
    """Returns the calls of a line of layers with their keyword arguments, or None for any other model."""
    if not is_of_layers(model) or not model.built or len([*model.inputs, *model.outputs]) != 2:
        return None
    for layer in [*walk(model)][1:]:
        if isinstance(layer, keras.Model) or not (own_layers(layer) or is_known(layer)):
            return None
    calls, tensor = list[tuple[Any, dict[str, Any]]](), model.outputs[0]
    while tensor is not model.inputs[0]:
        layer, args, kwargs = call_of(tensor)
        taken = inspect.signature(layer.call).parameters
        kwargs = {
            key: value
            for key, value in kwargs.items()
            # Keras adds defaults, and the mask that the input has anyway.
            if value is not None
            and (key not in taken or value is not taken[key].default)
            and not (key == "mask" and value is mask_of(args[0]))
        }
        given = keras.tree.flatten([args, kwargs])
        tensor, *others = filter(keras.utils.is_keras_tensor, given)
        if others or not isinstance(layer, keras.layers.Layer):
            return None
        calls.insert(0, (layer, kwargs))
    inputs = sum(isinstance(layer, keras.layers.InputLayer) for layer in model.layers)
    return calls if len({id(layer) for layer, _ in calls}) == len(model.layers) - inputs else None


class _Writer:
    """Writes objects as the calls that make them, without arguments that have their default."""

    def __init__(self) -> None:
        self.imports = {"import keras"}
        self.yours: set[str] = set()  # Names of user-defined classes and functions.

    def script(self, model: Any, calls: list[tuple[Any, dict[str, Any]]]) -> Iterator[str]:
        """Yields the lines that build a model."""
        (given,) = model.inputs
        arguments = {} if given.dtype == keras.config.floatx() else {"dtype": given.dtype}
        if any(getattr(layer, "stateful", False) for layer in walk(model)):
            arguments = {"batch_size": given.shape[0], **arguments}
        yield f"inputs = keras.Input({self.arguments(str(tuple(given.shape[1:])), arguments)})"
        layers = [layer for layer, _ in calls]
        tensor, variables = "inputs", dict[int, str]()
        for layer, kwargs in calls:
            if layers.count(layer) > 1 and id(layer) not in variables:
                variables[id(layer)] = f"layer_{len(variables) + 1}"
                yield f"{variables[id(layer)]} = {self.value(layer)}"
            call = variables.get(id(layer)) or self.value(layer)
            yield f"x = {call}({self.arguments(tensor, kwargs)})"
            tensor = "x"
        yield f"model = keras.Model(inputs, {tensor})"
        if any(passes_masks(layer) and is_masked(layer) for layer in layers):
            self.imports.add("from recdrop_tune.models import pass_masks")
            yield "pass_masks(model)  # From Keras 3.16 on, recurrent layers drop their masks."

    def changes(self, model: Any) -> Iterator[str]:
        """Yields the recurrent layers with dropout, for the code of a model."""
        wrappers = [layer for layer in walk(model) if isinstance(layer, RecurrentWrapper)]
        # The backward layer of a `Bidirectional` is made from the forward one.
        outer = [wrapper for wrapper in wrappers if not wrapper.name.startswith("backward_")]
        if not outer:
            yield "# The recurrent layers of the best model have no dropout: leave them as they are."
        for layer in outer:
            if not any(layer is wrapper.layer for wrapper in wrappers):
                yield f"# Recurrent layer: {self.value(layer)}"

    def training(
        self,
        model: Any,
        given: dict[str, Any],
        schedule: str,
        total: int | None,
        padding: Mapping[str, Any] | None,
    ) -> Iterator[str]:
        """Yields the lines that train a model."""
        arguments = self.arguments("x_train, y_train", given)
        if schedule != "constant":
            self.imports.add("import recdrop_tune as rdt")
            over = "" if total in (None, given["epochs"]) else f", epochs={total}"
            arguments += f", callbacks=[rdt.RateSchedule({self.value(schedule)}{over})]"
        call = "model.fit("
        # Rates are learned by the number of samples, which `model.fit` does not count.
        if learning_layers(model):
            self.imports.add("from recdrop_tune.models import fit")
            call = "fit(model, "
        yield "# x_train and y_train: all your data. Instead of both, pass a dataset alone."
        if padding is not None:
            how = self.arguments("x_train", {"padding": "post", **padding})
            yield f"x_train = keras.utils.pad_sequences({how})"
        yield f"{call}{arguments})"

    def arguments(self, first: str, given: Mapping[str, Any]) -> str:
        """Writes the arguments of a call; `first` is written already, and can be empty."""
        written = [f"{name}={self.value(value)}" for name, value in given.items()]
        return ", ".join([first, *written] if first else written)

    def value(self, value: Any) -> str:
        """Writes an argument: an object, or its configuration."""
        if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False)
        if isinstance(value, float):
            single = np.float32(value)  # Keras keeps learning rates in single precision.
            return repr(float(str(single)) if float(single) == value else value)
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(self.value, value))}]"
        if hasattr(value, "get_config"):
            described = keras.saving.serialize_keras_object(value)
            return self._call(described, {**described["config"], **lost_arguments(value)})
        if callable(value):
            value = keras.saving.serialize_keras_object(value)
        if not isinstance(value, Mapping):
            return repr(value)
        if "class_name" not in value:
            items = (f"{self.value(key)}: {self.value(part)}" for key, part in value.items())
            return "{" + ", ".join(items) + "}"
        kind, config = value["class_name"], value["config"]
        if "DTypePolicy" in kind:
            return f'"{config["name"]}"'
        if kind == "__lambda__":
            return self._named("your_lambda", "")
        if kind == "function":
            return self._named(str(config).rpartition(">")[2], str(value["module"]))
        return self._call(value, dict(config))

    def _call(self, described: Mapping[str, Any], config: dict[str, Any]) -> str:
        """Writes the call that makes the object of a configuration."""
        name, module = described["class_name"], str(described["module"])
        if name == "Bidirectional":
            sides = config["layer"], config["backward_layer"]
            config["layer"], backward = map(_without_direction, sides)
            # Keras makes it from the other one.
            if _comparable(config["layer"]) == _comparable(backward):
                del config["backward_layer"]
        # This package names a wrapper after its layer.
        is_named_after = module.startswith("recdrop_tune.") and "layer" in config
        inner = config["layer"]["config"]["name"] if is_named_after else None
        if is_default_name(str(config.get("name")), name) or config.get("name") == inner:
            config.pop("name", None)
        if module.partition(".")[0] not in ("keras", "recdrop_tune"):
            given = {key: value for key, value in config.items() if value is not None}
            return f"{self._named(name, module)}({self.arguments('', given)})"
        defaults: dict[str, Any] = {}
        for base in reversed(pkgutil.resolve_name(f"{module}:{name}").__mro__):
            parameters = inspect.signature(base.__init__).parameters
            defaults |= {key: parameter.default for key, parameter in parameters.items()}
        required = [key for key in parameters if key in config and defaults[key] is _REQUIRED]
        arguments = [self.value(config.pop(key)) for key in required[:1]]
        maker = self._named(name, module) if name not in _TECHNIQUES else "rdt.wrap"
        if name in _TECHNIQUES:
            self.imports.add("import recdrop_tune as rdt")
            arguments.append(f'"{_TECHNIQUES[name]}"')
        written = {
            key: config[key]
            for key in dict.fromkeys([*_ALWAYS, *sorted(config, key="name".__eq__)])
            if key in config and (key in _ALWAYS or _differs(key, config[key], defaults.get(key)))
        }
        return f"{maker}({self.arguments(', '.join(arguments), written)})"

    def _named(self, name: str, module: str) -> str:
        """Writes the public name of a class or function."""
        if module.startswith("recdrop_tune."):
            self.imports.add(f"from {'.'.join(module.split('.')[:2])} import {name}")
            return name
        if module.removeprefix("keras.") in _MODULES:
            return f"{module}.{name}"
        # For a function, and for an optimizer on PyTorch, Keras saves the private module.
        for place in _MODULES if module.partition(".")[0] == "keras" else ():
            if hasattr(pkgutil.resolve_name(f"keras.{place}"), name):
                return f"keras.{place}.{name}"
        self.yours.add(name)
        return name


def _without_direction(described: Mapping[str, Any]) -> dict[str, Any]:
    """Removes what a `Bidirectional` adds to the layer of one direction."""
    config = dict(described["config"])
    config["name"] = str(config["name"]).removeprefix("forward_").removeprefix("backward_")
    for added in {"go_backwards", "zero_output_for_mask"} & config.keys():
        config[added] = False
    if isinstance(config.get("layer"), Mapping):
        config["layer"] = _without_direction(config["layer"])
    return {**described, "config": config}


def _differs(key: str, value: Any, default: Any) -> bool:
    """Returns whether a value in a configuration is not the default of the argument."""
    if key == "dtype":
        return bool(keras.dtype_policies.get(value).name != keras.config.dtype_policy().name)
    if key == "activation" and default is None:
        default = "linear"
    if isinstance(value, Mapping) and value.get("module") == "keras.initializers":
        default = keras.saving.serialize_keras_object(keras.initializers.get(default))
    return bool(_comparable(value) != _comparable(default))


def _comparable(value: Any) -> Any:
    """Removes from a configuration what equal objects can differ in: names and shapes."""
    if isinstance(value, Mapping):
        apart = ("build_config", "registered_name", "name")
        return {key: _comparable(part) for key, part in value.items() if key not in apart}
    return [_comparable(part) for part in value] if isinstance(value, list | tuple) else value
