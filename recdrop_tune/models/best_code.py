"""Writes the recurrent layers of a model with their dropout, and its `compile`, as lines of code."""

from __future__ import annotations

import inspect
import json
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.kernels import compile_arguments, lost_arguments
from recdrop_tune.models.copies import lambdas_allowed
from recdrop_tune.models.layers import own_layers, walk
from recdrop_tune.wrappers import ActivityDecay, is_default_name

_TECHNIQUES = {each.class_name: each.id for each in TECHNIQUES.values() if each.class_name}
_TECHNIQUES[ActivityDecay.__name__] = "none"
_MODULES = ["layers", "optimizers", "optimizers.schedules", "losses", "metrics"]
_MODULES += ["activations", "initializers", "regularizers", "constraints"]
_ALWAYS = ("placement", "rate", "learning_rate")
"""Arguments that are written even if they have their default."""
_REQUIRED = inspect.Parameter.empty


@lambdas_allowed()
def best_code(model: Any, hyperparameters: Mapping[str, Any] | None = None) -> str:
    """Writes the recurrent layers of a model with their dropout, and its `compile`, as lines of code.

    Args:
        model: The model, compiled.
        hyperparameters: Further values, which are written as a comment.

    Returns:
        Python source: a list `layers` of the recurrent layers and of this package's layers in the order of
        the model, the call of `compile`, and a comment with `hyperparameters`. The other layers and the
        weights are not in it.

    Example:
        >>> print(best_code(model, {"units": 64, "epochs": 20}))
        import keras
        import recdrop_tune as rdt
        <BLANKLINE>
        layers = [
            rdt.wrap(keras.layers.LSTM(64), "recurrent", placement="recurrent", rate=0.05),
        ]
        model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.003), loss="mse")
        # Hyperparameters: units=64, epochs=20
    """
    writer = _Writer()
    lines = ["layers = [", *(f"    {writer.value(layer)}," for layer in _recurrent(model)), "]"]
    if model.compiled:
        defaults = inspect.signature(keras.Model.compile).parameters
        compiled = compile_arguments(model).items()
        given = {name: value for name, value in compiled if value != defaults[name].default}
        lines.append(f"model.compile({writer.arguments('', given)})")
    if hyperparameters:
        lines.append(f"# Hyperparameters: {writer.arguments('', hyperparameters)}")
    imports = sorted(writer.imports, key=lambda line: (line.startswith("from"), line))
    yours = [f"# Import or define: {', '.join(sorted(writer.yours))}"] if writer.yours else []
    return "\n".join([*imports, *yours, "", *lines]) + "\n"


def _recurrent(model: Any) -> Iterator[Any]:
    """Yields the outermost layers that recur or are of this package."""
    inside: set[int] = set()
    for layer in walk(model):
        kinds = keras.layers.RNN | keras.layers.Bidirectional
        if id(layer) not in inside and (isinstance(layer, kinds) or layer in own_layers(layer)):
            inside.update(map(id, walk(layer)))
            yield layer


class _Writer:
    """Writes objects as the calls that make them, without arguments that have their default."""

    def __init__(self) -> None:
        self.imports = {"import keras"}
        self.yours: set[str] = set()  # Names of user-defined classes and functions.

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
