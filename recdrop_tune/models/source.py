"""Python source of one object: a layer, an optimizer or a value, without what is the default."""

from __future__ import annotations

import copy
import inspect
import pkgutil
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import RecdropError
from recdrop_tune.kernels import lost_arguments
from recdrop_tune.wrappers import is_default_name

WIDTH = 88
"""How long a line may be: Black's."""

_MOST = 50
"""A list of more numbers than that, such as a vocabulary, is data and not a program."""


@dataclass(frozen=True)
class Call:
    """Source that is written on several lines where it does not fit on one.

    Attributes:
        opening: What stands before the parts, such as `keras.layers.LSTM(`.
        parts: What stands between the commas, each with what is written before it, such as `rate=`.
        closing: What stands after them.
    """

    opening: str
    parts: tuple[tuple[str, Source], ...]
    closing: str

    def __str__(self) -> str:
        return (
            f"{self.opening}{', '.join(f'{name}{part}' for name, part in self.parts)}{self.closing}"
        )


Source = str | Call


def written(source: Source, before: str = "", indent: int = 0, after: str = "") -> str:
    """Writes source, on one line if it fits.

    Args:
        source: The source.
        before: What stands before it on its first line.
        indent: How far that line is indented.
        after: What stands after it on its last line.
    """
    line = f"{' ' * indent}{before}{source}{after}"
    if isinstance(source, str) or len(line) <= WIDTH or not source.parts:
        return line
    inner = [written(part, name, indent + 4, ",") for name, part in source.parts]
    first, last = (
        f"{' ' * indent}{before}{source.opening}",
        f"{' ' * indent}{source.closing}{after}",
    )
    return "\n".join([first, *inner, last])


def not_writable(what: str, why: str) -> RecdropError:
    """Makes the error about something that there is no source for."""
    return RecdropError(
        f"There is no Python source for {what}: {why}. Write that part by hand: `best_hyperparameters` of "
        "a result has what the search has chosen."
    )


class Writer:
    """Writes objects as calls that make them, and notes what has to be imported.

    Attributes:
        imports: The lines that the source needs at its top.
        models: The variables of models that were written before, by the `id` of the model.
    """

    def __init__(self) -> None:
        self.imports: set[str] = {"import keras"}
        self.models: dict[int, str] = {}
        self._named: dict[str, Any] = {}

    def value(self, value: Any) -> Source:
        """Writes an argument as a configuration has it.

        Raises:
            RecdropError: It is nothing that can be written.
        """
        if isinstance(value, str):
            return quoted(value)
        if value is None or isinstance(value, bool | int):
            return repr(value)
        if isinstance(value, list | tuple | np.ndarray) and len(value) > _MOST:
            raise not_writable(f"a list of {len(value)}", "it is data")
        if isinstance(value, float | np.floating):
            return _number(float(value))
        if isinstance(value, list):
            return Call("[", tuple(("", self.value(part)) for part in value), "]")
        if isinstance(value, tuple):
            parts = tuple(("", self.value(part)) for part in value)
            return Call("(", parts, ",)" if len(parts) == 1 else ")")
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, np.ndarray):
            self.imports.add("import numpy as np")
            return Call(
                "np.array(", (("", self.value(value.tolist())),), f", {quoted(str(value.dtype))})"
            )
        if inspect.isfunction(value) or isinstance(value, type):
            return self.name_of(value)
        if hasattr(value, "get_config"):
            return self.object(value)
        raise not_writable(f"a {type(value).__name__}", "it is no plain value")

    def _mapping(self, value: Mapping[str, Any]) -> Source:
        if not {"class_name", "config"} <= set(value):
            items = value.items()
            return Call(
                "{", tuple((f"{self.value(key)}: ", self.value(part)) for key, part in items), "}"
            )
        if "DTypePolicy" in value["class_name"]:
            return quoted(value["config"]["name"])
        return self.value(live(value))

    def object(self, thing: Any) -> Source:
        """Writes the call that makes an object of Keras's kind: one with a `get_config`.

        Args:
            thing: The object.

        Raises:
            RecdropError: It cannot be written, or is of a class that cannot be imported.
        """
        config = {**config_of(thing), **lost_arguments(thing)}
        if isinstance(thing, keras.layers.Bidirectional):
            for side in ("layer", "backward_layer"):
                config[side] = _without_direction(config[side])
        required = _required(type(thing), config)
        default = _default_config(type(thing), required, config)
        changed = [
            key
            for key, value in config.items()
            if key not in required and comparable(value) != comparable(default.get(key))
        ]
        if is_default_name(str(config.get("name")), type(thing).__name__):
            changed = [key for key in changed if key != "name"]
        if "learning_rate" in config and "learning_rate" not in changed:
            changed.append("learning_rate")  # Whoever reads a program looks for it.
        changed.sort(key=lambda key: (key == "name") - (key == "learning_rate"))
        arguments = [
            (f"{key}=", self.models.get(id(getattr(thing, key, None))) or self.value(config[key]))
            for key in (*required, *changed)
        ]
        if required:  # The first one is what the call is about.
            arguments[0] = ("", arguments[0][1])
        return Call(f"{self.name_of(type(thing))}(", tuple(arguments), ")")

    def name_of(self, thing: Any) -> str:
        """Names a class or function, and notes how it is imported.

        Raises:
            RecdropError: It cannot be imported from anywhere.
        """
        name, module = str(thing.__name__), str(thing.__module__)
        if module.startswith("keras."):
            public = _public_module(name, thing)
            if public is None:
                raise not_writable(f"`{name}`", "Keras has no public name for it")
            return f"{public}.{name}"
        own = ".".join(module.split(".")[:2]) if module.startswith("recdrop_tune.") else module
        try:
            found = pkgutil.resolve_name(f"{own}:{thing.__qualname__}")
        except (ImportError, AttributeError, ValueError):
            found = None
        if found is not thing or own == "__main__":
            raise not_writable(f"`{thing.__qualname__}`", f"it cannot be imported from `{module}`")
        if self._named.setdefault(name, thing) is not thing:
            raise not_writable(f"`{thing.__qualname__}` of `{module}`", "another one has that name")
        self.imports.add(f"from {own} import {name}")
        return name


def quoted(text: str) -> str:
    """Writes a string in the quotes that most people take."""
    return repr(text) if set(text) & set("\"'\\") or not text.isprintable() else f'"{text}"'


def config_of(thing: Any) -> dict[str, Any]:
    """Returns the configuration of an object.

    Raises:
        RecdropError: It has none.
    """
    try:
        return dict(thing.get_config())
    except NotImplementedError:
        raise not_writable(f"`{type(thing).__name__}`", "it has no `get_config`") from None


def live(value: Any) -> Any:
    """Makes what a configuration describes."""
    if not isinstance(value, Mapping):
        return value
    try:
        # A copy: some classes take their configuration apart.
        return keras.saving.deserialize_keras_object(copy.deepcopy(dict(value)))
    except (TypeError, ValueError) as error:
        what, config = f"`{value.get('class_name')}`", value.get("config")
        if isinstance(config, str):
            what = f"the function `{config}`"
        elif what == "`__lambda__`":
            what = "a lambda"
        raise not_writable(what, "Keras cannot make it from its configuration") from error


def _number(value: float) -> str:
    """Writes a number as short as it is exact: Keras keeps learning rates in single precision."""
    if value in (float("inf"), float("-inf")) or value != value:
        return f'float("{value}")'
    with np.errstate(over="ignore"):
        single = np.float32(value)
    return repr(float(str(single)) if float(single) == value else value)


def _required(kind: type, config: Mapping[str, Any]) -> list[str]:
    """Lists the arguments that have no default, in the order of the signature."""
    parameters = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
    needed = [each.name for each in parameters if each.default is each.empty]
    return [name for name in needed if name in config and name not in ("self", "args", "kwargs")]


def _default_config(
    kind: type, required: Iterable[str], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the configuration of an object that is made of the arguments without a default alone."""
    with same_random_state():
        try:
            return dict(kind(**{name: live(config[name]) for name in required}).get_config())
        except Exception:  # A rate for each of two sites, say, where the default is one site.
            parameters = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
            defaults = {name: each.default for name, each in parameters.items()}
            of_all = (
                keras.layers.Layer().get_config() if issubclass(kind, keras.layers.Layer) else {}
            )
            return {**of_all, **defaults}


@contextmanager
def same_random_state() -> Iterator[None]:
    """Keeps the block from changing what is drawn next: layers draw their seeds from Python's generator."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def _without_direction(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Takes off what a `Bidirectional` adds to its layer: part of its name, and how it treats masks."""
    config = dict(layer["config"])
    config["name"] = str(config["name"]).removeprefix("forward_").removeprefix("backward_")
    if "zero_output_for_mask" in config:
        config["zero_output_for_mask"] = False
    if isinstance(config.get("layer"), Mapping):
        config["layer"] = _without_direction(config["layer"])
    return {**layer, "config": config}


def comparable(value: Any) -> Any:
    """Leaves out of a configuration what objects that do the same may differ in: inner names and shapes."""
    if isinstance(value, Mapping):
        apart = {"build_config", "registered_name"}
        kept = {key: comparable(part) for key, part in value.items() if key not in apart}
        inner = kept.get("config")
        if isinstance(inner, dict) and "DTypePolicy" not in str(kept.get("class_name")):
            apart = {"name", "zero_output_for_mask"}
            kept["config"] = {key: part for key, part in inner.items() if key not in apart}
        return kept
    if isinstance(value, list | tuple):
        return [comparable(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


_PLACES = (
    "layers optimizers losses metrics initializers regularizers constraints optimizers.schedules "
    "activations random dtype_policies"
)


def _public_module(name: str, thing: Any) -> str | None:
    """Finds the module of Keras's under which a class or function is public."""
    for place in _PLACES.split():
        try:
            found = pkgutil.resolve_name(f"keras.{place}:{name}")
        except (ImportError, AttributeError):
            continue
        if found is thing or _stands_in(thing, found):
            return f"keras.{place}"
    return None


def _stands_in(thing: Any, public: Any) -> bool:
    """Says whether a class is what Keras makes in the place of a public one, as an optimizer with torch."""
    return isinstance(thing, type) and isinstance(public, type) and issubclass(thing, public)
