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
from copy import deepcopy
from typing import Any

import keras
import numpy as np

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.kernels import (
    compile_arguments,
    excluded_from_decay,
    inputs_of,
    lost_arguments,
    mask_of,
)
from recdrop_tune.models.copies import custom_objects, lambdas_allowed
from recdrop_tune.models.layers import is_known, is_of_layers, learning_layers, own_layers, walk
from recdrop_tune.models.masks import is_masked, passes_masks
from recdrop_tune.wrappers import ActivityDecay, RecurrentWrapper, is_default_name

_TECHNIQUES = {each.class_name: each.id for each in TECHNIQUES.values() if each.class_name}
_TECHNIQUES[ActivityDecay.__name__] = "none"
_COMPILED = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics")
_COMPILED_OPTIONS = ("run_eagerly", "steps_per_execution", "jit_compile", "auto_scale_loss")
_MODULES = ["layers", "optimizers", "optimizers.schedules", "losses", "metrics", "activations"]
_MODULES += ["initializers", "regularizers", "constraints"]
_ALWAYS = ("placement", "rate", "learning_rate")
"""Arguments that are written even if they have their default."""


@lambdas_allowed()
def best_code(
    model: Any,
    epochs: int | None = None,
    *,
    dataset: bool = False,
    seed: int | None = None,
    schedule: str = "constant",
    schedule_epochs: int | None = None,
    **fit: Any,
) -> str:
    """Writes a script for a model, or the lines to change in the code that builds it.

    Args:
        model: The model, compiled.
        epochs: For how many epochs to train it; None writes no call of `fit`.
        dataset: Whether to train it on a dataset instead of arrays.
        seed: Seed of weights, shuffling and masks.
        schedule: The schedule of its dropout in training.
        schedule_epochs: For how many epochs the schedule is made, if not `epochs`.
        **fit: Further arguments of `fit`, such as `batch_size` and `class_weight`.

    Returns:
        Python source. A script defines `model`, and trains it on `x_train` and `y_train`, or on `dataset`,
        which you define. Weights are not in it.

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
        # x_train and y_train: all your data.
        model.fit(x_train, y_train, epochs=20)
    """
    writer = _Writer(model)
    calls = _line(model)
    lines = [*(writer.changes(model) if calls is None else writer.script(model, calls))]
    if model.compiled:
        compiled = compile_arguments(model)
        given = {name: compiled[name] for name in _COMPILED if compiled.get(name)}
        defaults = inspect.signature(keras.Model.compile).parameters
        given |= {
            name: compiled[name]
            for name in _COMPILED_OPTIONS
            if compiled[name] != defaults[name].default
        }
        lines.append(f"model.compile({writer.arguments(given)})")
    undecayed, variables = excluded_from_decay(model.optimizer) if model.compiled else (None, False)
    if undecayed is not None:
        inner = ".inner_optimizer" * hasattr(model.optimizer, "inner_optimizer")
        names = writer.value([undecayed])
        lines.append(f"model.optimizer{inner}.exclude_from_weight_decay(var_names={names})")
    if variables and not learning_layers(model):  # For learned rates, `fit` does it.
        lines.append("# Repeat your `exclude_from_weight_decay(var_list=...)` for this model.")
    if epochs is not None:
        lines += [
            *writer.training(model, {"epochs": epochs, **fit}, dataset, schedule, schedule_epochs)
        ]
    policy = keras.config.dtype_policy().name
    if policy != "float32":
        lines.insert(0, f'keras.config.set_dtype_policy("{policy}")')
    if seed is not None:
        lines.insert(0, f"keras.utils.set_random_seed({seed})")
    imports = sorted(writer.imports, key=lambda line: (line.startswith("from"), line))
    yours = [f"# Import or define: {', '.join(sorted(writer.yours))}"] if writer.yours else []
    return "\n".join([*imports, *yours, "", *lines]) + "\n"


def _line(model: Any) -> list[tuple[Any, dict[str, Any]]] | None:
    """Returns the calls of a line of layers with their keyword arguments, or None for any other model."""
    if not is_of_layers(model) or not model.built:
        return None
    for layer in [*walk(model)][1:]:
        if isinstance(layer, keras.Model) or not (own_layers(layer) or is_known(layer)):
            return None
    if isinstance(model, keras.Sequential):
        return [(layer, {}) for layer in model.layers]
    config, operations = model.get_config(), {each.name: each for each in model.operations}
    nodes = {each["name"]: each["inbound_nodes"] for each in config["layers"]}
    ends = [keras.tree.flatten(config[f"{end}_layers"]) for end in ("input", "output")]
    # One end holds three values: the name of a layer, and the numbers of its call and output.
    if any(len(end) != 3 for end in ends):
        return None
    calls = []
    name, index, _ = ends[1]
    while nodes[name]:
        node = nodes[name][index]
        # Keras saves masks as arguments, but layers hand them on.
        kwargs = dict(node["kwargs"])
        if _is_handed_on(kwargs.get("mask"), operations[name], operations):
            del kwargs["mask"]
        # Keras saves the default of `training`, too.
        taken = inspect.signature(operations[name].call).parameters
        if "training" in taken and kwargs.get("training") == taken["training"].default:
            kwargs.pop("training", None)
        tensors = [*_tensors(node["args"]), *_tensors(kwargs)]
        if len(tensors) != 1 or not isinstance(operations[name], keras.layers.Layer):
            return None
        kwargs = {key: each for key, each in kwargs.items() if each is not None}
        calls.append((operations[name], kwargs))
        name, index, _ = tensors[0]
    inputs = sum(isinstance(each, keras.layers.InputLayer) for each in model.layers)
    same = len({id(layer) for layer, _ in calls}) == len(model.layers) - inputs
    return calls[::-1] if same else None


def _is_handed_on(mask: Any, layer: Any, operations: Mapping[str, Any]) -> bool:
    """Returns whether the mask in a call is the one that an input of the layer has anyway."""
    places = _tensors(mask)
    try:
        given = [operations[name].output for name, *_ in places]
    except (AttributeError, ValueError):  # It was called several times.
        return False
    return bool(given) and any(mask_of(tensor) is given[0] for tensor in inputs_of(layer))


def _tensors(value: Any) -> list[list[Any]]:
    """Returns where the tensors in the arguments of a call come from."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            return [value["config"]["keras_history"]]
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return []
    return [found for part in value for found in _tensors(part)]


class _Writer:
    """Writes objects as the calls that make them, without arguments that have their default.

    Args:
        model: The model that the objects belong to.

    Attributes:
        imports: The imports that the calls need.
        yours: The names of user-defined classes and functions in them.
    """

    def __init__(self, model: Any) -> None:
        self._custom = {
            name: each for part in walk(model) for name, each in custom_objects(part).items()
        }
        self.imports = {"import keras"}
        self.yours: set[str] = set()

    def script(self, model: Any, calls: list[tuple[Any, dict[str, Any]]]) -> Iterator[str]:
        """Yields the lines that build a model."""
        (given,) = model.inputs
        is_stateful = any(getattr(each, "stateful", False) for each in walk(model))
        arguments = {"batch_size": given.shape[0]} if is_stateful else {}
        arguments |= {"dtype": given.dtype, "name": given.name}
        if given.dtype == keras.config.floatx():
            del arguments["dtype"]
        if is_default_name(given.name, "KerasTensor") or given.name.startswith("input"):
            del arguments["name"]
        written = [str(tuple(given.shape[1:])), self.arguments(arguments)]
        yield f"inputs = keras.Input({', '.join(filter(None, written))})"
        layers = [layer for layer, _ in calls]
        tensor, variables = "inputs", dict[int, str]()
        for layer, kwargs in calls:
            if sum(each is layer for each in layers) > 1 and id(layer) not in variables:
                variables[id(layer)] = f"layer_{len(variables) + 1}"
                yield f"{variables[id(layer)]} = {self.value(layer)}"
            call = variables.get(id(layer)) or self.value(layer)
            yield f"x = {call}({', '.join(filter(None, (tensor, self.arguments(kwargs))))})"
            tensor = "x"
        yield f"model = keras.Model(inputs, {tensor})"
        if any(passes_masks(layer) and is_masked(layer) for layer in layers):
            self.imports.add("from recdrop_tune.models import pass_masks")
            yield "pass_masks(model)  # From Keras 3.16 on, recurrent layers drop their masks."

    def changes(self, model: Any) -> Iterator[str]:
        """Yields the lines to change in the code of a model."""
        found = [each for each in walk(model) if isinstance(each, RecurrentWrapper)]
        # The backward layer of a `Bidirectional` is made from the forward one.
        inner = {id(each.layer) for each in found}
        outer = [each for each in found if id(each) not in inner]
        outer = [each for each in outer if not each.name.startswith("backward_")]
        if not outer:
            yield "# The recurrent layers of the best model have no dropout: leave them as they are."
        for layer in outer:
            plain = layer.layer
            while isinstance(plain, RecurrentWrapper):
                plain = plain.layer
            yield f"# {self.value(plain)}"
            yield f"# -> {self.value(layer)}"

    def training(
        self, model: Any, given: Mapping[str, Any], dataset: bool, schedule: str, total: int | None
    ) -> Iterator[str]:
        """Yields the lines that train a model."""
        arguments = [*(["dataset"] if dataset else ["x_train", "y_train"]), self.arguments(given)]
        if schedule != "constant":
            self.imports.add("import recdrop_tune as rdt")
            over = "" if total in (None, given["epochs"]) else f", epochs={total}"
            arguments.append(f"callbacks=[rdt.RateSchedule({self.value(schedule)}{over})]")
        call = "model.fit("
        # Rates are learned by the number of samples, which `model.fit` does not count.
        if learning_layers(model):
            self.imports.add("from recdrop_tune.models import fit")
            call = "fit(model, "
        yield f"# {'dataset' if dataset else 'x_train and y_train'}: all your data."
        yield f"{call}{', '.join(arguments)})"

    def arguments(self, given: Mapping[str, Any]) -> str:
        """Writes keyword arguments."""
        return ", ".join(f"{name}={self.value(value)}" for name, value in given.items())

    def value(self, value: Any) -> str:
        """Writes an argument: an object, or its configuration."""
        if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False)
        if isinstance(value, float):
            single = np.float32(value)  # Keras keeps learning rates in single precision.
            return repr(float(str(single)) if float(single) == value else value)
        if isinstance(value, list | tuple):
            parts = ", ".join(map(self.value, value))
            return (
                f"[{parts}]" if isinstance(value, list) else f"({parts}{',' * (len(value) == 1)})"
            )
        if hasattr(value, "get_config"):
            described = keras.saving.serialize_keras_object(value)
            lost = lost_arguments(value)
            return self.value({**described, "config": {**described["config"], **lost}})
        if callable(value):
            value = keras.saving.serialize_keras_object(value)
            return self.value(value)
        if not isinstance(value, Mapping):
            return repr(value)
        if "class_name" not in value:
            items = (f"{self.value(key)}: {self.value(each)}" for key, each in value.items())
            return "{" + ", ".join(items) + "}"
        if value["class_name"] in ("__numpy__", "__tensor__"):
            return self.value(value["config"]["value"])
        if "DTypePolicy" in value["class_name"]:
            return f'"{value["config"]["name"]}"'
        if value["class_name"] == "__lambda__":
            return self._named("your_lambda", "")
        if value["class_name"] == "function":
            return self._named(str(value["config"]).rpartition(">")[2], str(value["module"]))
        return self._call(value)

    def _call(self, described: Mapping[str, Any]) -> str:
        """Writes the call that makes the object of a configuration."""
        name, module = described["class_name"], str(described["module"])
        config = dict(described["config"])
        if is_default_name(str(config.get("name")), name):
            config["name"] = None
        config.pop("schedule", None)  # Applied in `fit`.
        if module.partition(".")[0] not in ("keras", "recdrop_tune"):
            given = {key: value for key, value in config.items() if value is not None}
            return f"{self._named(name, module)}({self.arguments(given)})"
        if name in _TECHNIQUES and "go_backwards" in config:  # The wrapper takes it from its layer.
            turned = {"go_backwards": config.pop("go_backwards")}
            config["layer"] = {**config["layer"], "config": {**config["layer"]["config"], **turned}}
        if name == "Bidirectional":
            config["layer"], other = map(
                _without_direction, (config["layer"], config["backward_layer"])
            )
            # Keras makes it from the other one.
            if _comparable(config["layer"]) == _comparable(other):
                config["backward_layer"] = None
        kind = pkgutil.resolve_name(f"{module}:{name}")
        parameters = inspect.signature(kind.__init__).parameters.values()
        required = [each.name for each in parameters if each.default is each.empty]
        required = [each for each in required if each in config]
        # The default of a rate depends on the placement.
        first = {*required, *({"placement"} & config.keys())}
        given = {key: deepcopy(config[key]) for key in first}  # `StackedRNNCells` empties its own.
        with keras.saving.custom_object_scope(self._custom):
            made = kind(
                **{
                    key: keras.saving.deserialize_keras_object(given[key], safe_mode=False)
                    for key in given
                }
            )
        default = {**made.get_config(), **lost_arguments(made), "backward_layer": None}
        if name in _TECHNIQUES and config["name"] == config["layer"]["config"]["name"]:
            config["name"] = None  # `wrap` names the wrapper after its layer.
        if config.get("name") is None:
            default["name"] = None
        others = (key for key in config if key != "name")
        order = dict.fromkeys([*required[:1], *_ALWAYS, *required, *others, "name"])
        given = {
            key: self.value(config[key])
            for key in order
            if key in config
            and (
                key in (*required, *_ALWAYS)
                or _comparable(config[key]) != _comparable(default.get(key))
            )
        }
        main = given.pop(required[0]) if required else None
        rest = ", ".join(f"{key}={value}" for key, value in given.items())
        if name in _TECHNIQUES:
            self.imports.add("import recdrop_tune as rdt")
            return f'rdt.wrap({main}, "{_TECHNIQUES[name]}", {rest})'
        return f"{self._named(name, module)}({', '.join(filter(None, (main, rest)))})"

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
    name = str(config["name"]).removeprefix("forward_").removeprefix("backward_")
    config |= {"name": name, "go_backwards": False}
    if "zero_output_for_mask" in config:
        config["zero_output_for_mask"] = False
    if isinstance(config.get("layer"), Mapping):
        config["layer"] = _without_direction(config["layer"])
    return {**described, "config": config}


def _comparable(value: Any) -> Any:
    """Removes from a configuration what equal objects can differ in: names and shapes."""
    if isinstance(value, Mapping):
        apart = ("build_config", "registered_name", "name")
        return {key: _comparable(each) for key, each in value.items() if key not in apart}
    return [_comparable(each) for each in value] if isinstance(value, list | tuple) else value
