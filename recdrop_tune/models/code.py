"""Python source that builds a model again, in stock Keras and this package's layers."""

from __future__ import annotations

import builtins
import inspect
import keyword
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import compile_arguments, excluded_from_decay
from recdrop_tune.models.layers import is_of_layers, walk
from recdrop_tune.models.masks import hands_on_masks, is_masked
from recdrop_tune.models.parts import mistaken
from recdrop_tune.models.source import (
    WIDTH,
    Call,
    Source,
    Writer,
    config_of,
    not_writable,
    quoted,
    written,
)
from recdrop_tune.models.wiring import (
    Node,
    chained_calls,
    in_order,
    is_place,
    used_calls,
    without_implied_masks,
)
from recdrop_tune.wrappers import is_default_name


def model_code(model: Any) -> str:
    """Writes Python source that builds and compiles a model, as a person would write it.

    It imports what it needs, makes the layers with the arguments that are not the defaults, connects them,
    and compiles the model as it is compiled. Weights are not in it, nor what layers have learned by `adapt`,
    which a comment says there. Neither are `jit_compile`, which Keras decides, and `use_cudnn`, which Keras
    does not keep in a layer's configuration.

    Args:
        model: A Sequential or functional Keras model; models inside of it may be such too.

    Returns:
        The source. It ends with a variable `model`.

    Raises:
        InvalidArgumentError: It is no Sequential or functional model.
        RecdropError: There is something in it that cannot be written: a layer or function that cannot be
            imported from anywhere, a subclassed model, an array of many numbers.

    Example:
        >>> import keras
        >>> from recdrop_tune import wrap
        >>> from recdrop_tune.models import model_code
        >>> layer = wrap(keras.layers.LSTM(8), "recurrent", rate=0.3)
        >>> print(model_code(keras.Sequential([keras.Input((5, 3)), layer, keras.layers.Dense(1)])))
        import keras
        from recdrop_tune.wrappers import RecurrentDropoutWrapper
        <BLANKLINE>
        model = keras.Sequential(
            [
                keras.Input((5, 3)),
                RecurrentDropoutWrapper(keras.layers.LSTM(8), rate=0.3),
                keras.layers.Dense(1),
            ]
        )
    """
    if not is_of_layers(model):
        raise invalid_argument(
            "model",
            expected="a Sequential or functional Keras model",
            received=model,
            fix="A subclassed model has code of its own: copy that."
            * isinstance(model, keras.Model),
        )
    for name in (name for layer in walk(model) for name in mistaken(layer)):
        raise not_writable(f"`{name}`", "Keras takes it for its own function of that name")
    code = _ModelCode(model)
    lines = [*code.model(model, "model"), *_masking(model, "model"), *code.compiled(model)]
    policy = keras.config.dtype_policy().name
    if policy != "float32":
        lines = [f"keras.config.set_dtype_policy({quoted(policy)})", "", *lines]
    return "\n".join([*_sorted(code.writer.imports), "", *lines]) + "\n"


def _sorted(imports: set[str]) -> list[str]:
    """Orders imports: whole modules first; several names of one module on one line."""
    names: dict[str, list[str]] = {}
    for line in sorted(imports):
        module, _, name = line.removeprefix("from ").partition(" import ")
        if name:
            names.setdefault(module, []).append(name)
    modules = [line for line in sorted(imports) if line.startswith("import ")]
    return [*modules, *(_import_of(module, each) for module, each in names.items())]


def _import_of(module: str, names: list[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"from {module} import (", *(f"    {name}," for name in names), ")"])


class _ModelCode:
    """Writes models; each name of a variable is taken once."""

    def __init__(self, model: Any) -> None:
        self.writer = Writer()
        self._taken = {"keras", "np", "model", "x", *dir(builtins)}
        # A layer may be called as a class is that has to be imported.
        self._taken |= {type(each).__name__ for each in walk(model)}

    def model(self, model: Any, variable: str) -> Iterator[str]:
        """Yields the lines that make a model, those of the models in it first."""
        inner = self.writer.models
        for layer in map(_wrapped, model.layers):
            config_of(layer)  # Of a model that holds one without, Keras does not name it.
            if isinstance(layer, keras.Model) and id(layer) not in inner:
                if not is_of_layers(layer):
                    raise not_writable(
                        f"the model `{layer.name}`", "it is a subclass with code of its own"
                    )
                name = self._variable(layer.name)
                yield from self.model(layer, name)
                yield ""
                inner[id(layer)] = name
        if isinstance(model, keras.Sequential):
            places = [f"{variable}.layers[{number}]" for number, _ in _to_be_adapted(model)]
            yield from map(_adapting, places)
            yield self._sequential(model, variable, inner)
        else:
            yield from self._functional(model, variable, inner)

    def compiled(self, model: Any) -> Iterator[str]:
        """Yields the lines that compile the model, if it is compiled."""
        config = compile_arguments(model) if model.compiled else {}
        if not config:
            return
        defaults = {"run_eagerly": False, "steps_per_execution": 1, "auto_scale_loss": True}
        names = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics", *defaults)
        values = {name: config.get(name) for name in names}
        chosen = {n: v for n, v in values.items() if v not in (None, [], defaults.get(n))}
        arguments = tuple((f"{name}=", self.writer.value(value)) for name, value in chosen.items())
        yield written(Call("model.compile(", arguments, ")"))
        undecayed, variables = excluded_from_decay(model.optimizer)
        if variables:
            raise not_writable("what the optimizer excludes from weight decay", "it is variables")
        if undecayed is not None:
            inner = ".inner_optimizer" * hasattr(model.optimizer, "inner_optimizer")
            yield f"model.optimizer{inner}.exclude_from_weight_decay(var_names=[{quoted(undecayed)}])"

    def _sequential(self, model: Any, variable: str, inner: Mapping[int, str]) -> str:
        first = model.get_config()["layers"][:1]
        parts = [
            self._input(each["config"]) for each in first if each["class_name"] == "InputLayer"
        ]
        parts += [inner.get(id(layer)) or self.writer.object(layer) for layer in model.layers]
        layers = Call("[", tuple(("", part) for part in parts), "]")
        return written(
            Call("keras.Sequential(", (("", layers), *_named(model)), ")"), f"{variable} = "
        )

    def _functional(self, model: Any, variable: str, inner: Mapping[int, str]) -> Iterator[str]:
        config = model.get_config()
        tensors: dict[tuple[str, int, int], str] = {}
        bound: dict[str, str] = {}
        operations = {operation.name: operation for operation in model.operations}
        entries = {entry["name"]: entry for entry in config["layers"]}
        for name, entry in entries.items():
            if entry["class_name"] == "InputLayer":
                tensors[name, 0, 0] = self._variable(
                    "inputs" if is_default_name(name, "InputLayer") else name
                )
                yield written(self._input(entry["config"]), f"{tensors[name, 0, 0]} = ")
        nodes = list(in_order(without_implied_masks(entries, operations), set(tensors)))
        nodes = used_calls(nodes, config["output_layers"])
        calls = Counter(node.layer for node in nodes)
        adapted = [layer.name for _, layer in _to_be_adapted(model)]
        for name in (name for name, count in calls.items() if count > 1 or name in adapted):
            if id(operations[name]) not in inner and isinstance(
                operations[name], keras.layers.Layer
            ):
                bound[name] = self._variable(name)
                if name in adapted:
                    yield _adapting(bound[name])
                yield written(self.writer.object(operations[name]), f"{bound[name]} = ")
        chained = chained_calls(nodes, config["output_layers"])
        for node in nodes:
            operation = operations[node.layer]
            made = bound.get(node.layer) or inner.get(id(operation))
            source = self._called(node, operation, made, tensors)
            last = node.layer if calls[node.layer] == 1 else f"{node.layer}_{node.index + 1}"
            if [node.layer, node.index, 0] == list(config["output_layers"]):
                last = "outputs"
            name = "x" if node.key in chained else self._variable(last)
            for number, place in enumerate(_places(operation)):
                tensors[node.layer, node.index, number] = f"{name}{place}"
            yield written(source, f"{name} = ")
        ends = [self._structure(config[f"{end}_layers"], tensors) for end in ("input", "output")]
        arguments = (*(("", end) for end in ends), *_named(model))
        yield written(Call("keras.Model(", arguments, ")"), f"{variable} = ")

    def _called(self, node: Node, operation: Any, made: str | None, tensors: Any) -> Source:
        """Writes the call of a layer or operation on tensors."""
        if type(operation).__name__ == "GetItem":
            tensor, index = node.args
            return f"{self._argument(tensor, tensors)}[{_index(index)}]"
        args = [self._argument(each, tensors) for each in node.args]
        if not isinstance(operation, keras.layers.Layer):
            return self._operation(operation, args, node.kwargs, tensors)
        kwargs = _given(operation, node.kwargs)
        parts = [("", each) for each in args]
        parts += [(f"{name}=", self._argument(value, tensors)) for name, value in kwargs.items()]
        called = f"({', '.join(f'{name}{part}' for name, part in parts)})"
        source = made or self.writer.object(operation)
        if isinstance(source, str):
            return f"{source}{called}"
        return Call(source.opening, source.parts, f"{source.closing}{called}")

    def _operation(self, operation: Any, args: list[Source], kwargs: Any, tensors: Any) -> Source:
        """Writes the call of a function of `keras.ops`, which a model holds as an object."""
        kind = type(operation).__name__
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
        function = getattr(keras.ops, name, None)
        if function is None:
            raise not_writable(f"the operation `{kind}`", "`keras.ops` has none of that name")
        config = {k: v for k, v in operation.get_config().items() if k != "name"}
        parameters = inspect.signature(function).parameters
        try:
            inspect.signature(function).bind(*args, **config, **kwargs)
        except TypeError as error:
            raise not_writable(f"the operation `{kind}`", f"`keras.ops.{name}`: {error}") from None
        given = {k: v for k, v in {**config, **kwargs}.items() if v != parameters[k].default}
        parts = [("", each) for each in args]
        parts += [(f"{key}=", self._argument(value, tensors)) for key, value in given.items()]
        return Call(f"keras.ops.{name}(", tuple(parts), ")")

    def _argument(self, value: Any, tensors: Any) -> Source:
        """Writes an argument of a call: a tensor, a structure of such, or a value."""
        if isinstance(value, Mapping) and value.get("class_name") == "__keras_tensor__":
            return str(tensors[tuple(value["config"]["keras_history"])])
        if isinstance(value, list | tuple):
            return Call("[", tuple(("", self._argument(each, tensors)) for each in value), "]")
        if isinstance(value, Mapping) and "class_name" not in value:
            items = value.items()
            return Call(
                "{",
                tuple((f"{self.writer.value(k)}: ", self._argument(v, tensors)) for k, v in items),
                "}",
            )
        return self.writer.value(value)

    def _structure(self, value: Any, tensors: Any) -> Source:
        """Writes the inputs or outputs of a model."""
        if isinstance(value, Mapping):
            parts = tuple(
                (f"{self.writer.value(k)}: ", self._structure(v, tensors)) for k, v in value.items()
            )
            return Call("{", parts, "}")
        if is_place(value):
            return str(tensors[tuple(value)])
        return Call("[", tuple(("", self._structure(each, tensors)) for each in value), "]")

    def _input(self, config: Mapping[str, Any]) -> Source:
        batch, *shape = config["batch_shape"]
        parts: list[tuple[str, Source]] = [("", repr(tuple(shape)))]
        if batch is not None:
            parts = [("batch_shape=", repr((batch, *shape)))]
        kept = {"dtype": keras.config.floatx(), "sparse": False, "ragged": False, "optional": False}
        for name, default in kept.items():
            if config.get(name, default) != default:
                parts.append((f"{name}=", self.writer.value(config[name])))
        if not is_default_name(config["name"], "InputLayer"):
            parts.append(("name=", quoted(config["name"])))
        return Call("keras.Input(", tuple(parts), ")")

    def _variable(self, name: str) -> str:
        """Makes a name of a variable, which no other has."""
        stem = re.sub(r"\W|^(?=\d)", "_", name, flags=re.ASCII)
        stem += "_" * keyword.iskeyword(stem)
        found, number = stem, 1
        while found in self._taken:
            number += 1
            found = f"{stem}_{number}"
        self._taken.add(found)
        return found


def _masking(model: Any, variable: str) -> Iterator[str]:
    """Yields the lines that make recurrent layers hand on their masks, needed from Keras 3.16 on."""
    for number, layer in enumerate(model.layers):
        place = f"{variable}.layers[{number}]"
        if isinstance(layer, keras.Model):
            yield from _masking(layer, place)
        elif hands_on_masks(layer) and is_masked(layer):
            yield f"{place}.supports_masking = True"


def _wrapped(layer: Any) -> Any:
    """Returns the model in a wrapper, such as a `TimeDistributed`; of another layer itself."""
    inner = layer
    while isinstance(inner, keras.layers.Wrapper):
        inner = inner.layer
    return inner if isinstance(inner, keras.Model) else layer


def _to_be_adapted(model: Any) -> list[tuple[int, Any]]:
    """Lists the layers that have learned from data what their arguments do not say, and their positions."""
    found = [
        (number, layer)
        for number, layer in enumerate(model.layers)
        if callable(getattr(layer, "adapt", None))
    ]
    learned = ("mean", "vocabulary", "bin_boundaries")
    return [
        (number, layer)
        for number, layer in found
        if all(layer.get_config().get(name) is None for name in learned)
    ]


def _adapting(layer: str) -> str:
    """Writes the comment on a layer that has to be adapted before the model is used."""
    return f"# Call `{layer}.adapt(...)` first: what it has learned of data is not here."


def _named(model: Any) -> Iterator[tuple[str, str]]:
    if not is_default_name(model.name, type(model).__name__):
        yield "name=", quoted(model.name)


def _index(value: Any) -> str:
    """Writes what stands between the brackets of a slice of a tensor."""
    if isinstance(value, list | tuple):
        return ", ".join(_index(each) for each in value)
    if not isinstance(value, Mapping):
        return repr(value)
    if value["class_name"] == "__ellipsis__":
        return "..."
    if value["class_name"] != "__slice__":
        raise not_writable("an index of a tensor", f"it is a {value['class_name']}")
    start, stop, step = ("" if each is None else str(each) for each in value["config"].values())
    return f"{start}:{stop}" + (f":{step}" if step else "")


def _places(operation: Any) -> list[str]:
    """Lists how each output of a call is reached: `""` where there is one, else `[0]`, `[1]`, `["a"]`."""
    try:
        structure = operation.output
    except (AttributeError, ValueError):  # It is called several times.
        structure = [None] * 3 if getattr(operation, "return_state", False) else None
    paths = keras.tree.flatten_with_path(structure) if structure is not None else [((), None)]
    return ["".join(f"[{step!r}]" for step in path) for path, _ in paths]


def _given(layer: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves out arguments of a call that have their defaults, which Keras writes down too."""
    parameters = inspect.signature(type(layer).call).parameters
    defaults = {name: each.default for name, each in parameters.items()}
    return {name: value for name, value in kwargs.items() if value != defaults.get(name)}
