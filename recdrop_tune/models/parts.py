"""The parts of a model that have a configuration, which are a user's own, and what these do not say."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

import keras

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import lost_arguments
from recdrop_tune.models.layers import is_of_layers, own_layers, walk

# Their functions compute the same whenever they are called with the same.
_LIBRARIES = frozenset(
    ("builtins", "functools", "jax", "keras", "math", "numpy", "operator", "recdrop_tune")
) | {"tensorflow", "torch", "typing"}

NOTING = (keras.layers.Layer, keras.Operation)
"""Their `get_config` has noted what an object was made with, or finds that it could not."""

_OF_KERAS = {"name", "dtype", "trainable"}
"""Arguments that Keras's own base classes write down, where they do."""


def is_own(thing: Any) -> bool:
    """Says whether a class, a function or a module is a user's own."""
    name = thing.__name__ if isinstance(thing, ModuleType) else thing.__module__
    return str(name).partition(".")[0] not in _LIBRARIES


def owner(kind: type, name: str) -> type:
    """Returns the class that defines a method of a class."""
    return next((each for each in kind.__mro__ if name in vars(each)), object)


def parts_of(*things: Any) -> list[Any]:
    """Lists the objects with a configuration in others, each once: a schedule in an optimizer, say.

    Args:
        things: Such objects, which come before what is in them, or collections.
    """
    found: dict[int, Any] = {}
    waiting = [*reversed(things)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            waiting.extend(part.values())
        elif isinstance(part, list | tuple | set | frozenset):
            waiting.extend(part)
        elif _is_configured(part) and id(part) not in found:
            found[id(part)] = part
            # A model of layers holds beside them what training has made.
            layered = is_of_layers(part)
            waiting.append(getattr(part, "operations" if layered else "__dict__", []))
    return list(found.values())


def parts_of_model(model: Any) -> list[Any]:
    """Lists the layers in a model, each with its own initializers, regularizers and the like."""
    found, own = [], own_layers(model)
    for layer in walk(model):
        held = [] if layer in own else filter(_is_configured, vars(layer).values())
        found += [layer, *(part for part in held if not isinstance(part, keras.layers.Layer))]
    return found


def _is_configured(thing: Any) -> bool:
    return hasattr(thing, "get_config") and not isinstance(thing, type)


def custom_parts(layers: Iterable[Any]) -> dict[str, Any]:
    """Returns the classes and functions in layers that are not Keras's, by the name that it writes down.

    They need not be a user's own: those of other libraries Keras does not find either.

    Raises:
        InvalidArgumentError: Two of them have one name, or an activation has the name of one of Keras's.
    """
    found: dict[str, Any] = {}
    for layer in layers:
        for name in mistaken(layer):
            raise invalid_argument(
                "model",
                expected="activations of yours that are not called as Keras's are",
                received=f"`{name}` in `{layer.name}`",
                fix="Give it another name, for Keras would take its own in a copy.",
            )
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


def mistaken(layer: Any) -> list[str]:
    """Lists the functions of a user's own in a layer that Keras writes down as its own of that name."""
    return [
        each.__name__
        for name, each in vars(layer).items()
        if isinstance(each, FunctionType)
        and is_own(each)
        and hasattr(keras.activations, each.__name__)
        and layer.get_config().get(name) == each.__name__
    ]


def unsaid(thing: Any) -> list[inspect.Parameter]:
    """Lists the arguments of a user's class that are not in the configuration of an object of it.

    Raises:
        NotImplementedError: It has no configuration.
    """
    said = {*thing.get_config(), *lost_arguments(thing), *_OF_KERAS}
    if owner(type(thing), "get_config") in NOTING:
        return []
    return [each for each in arguments_of(type(thing)) if each.name not in said]


def arguments_of(kind: type) -> Iterator[inspect.Parameter]:
    """Yields the arguments of a user's class, and of those above it that `**kwargs` are handed on to."""
    for each in kind.__mro__:
        if "__init__" not in vars(each):
            continue
        if not is_own(each):
            return
        _, *arguments = inspect.signature(each.__init__).parameters.values()  # type: ignore[misc]
        yield from (
            one for one in arguments if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        )
        if all(one.kind is not one.VAR_KEYWORD for one in arguments):
            return
