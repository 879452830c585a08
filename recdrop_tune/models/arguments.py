"""The arguments of a user's classes, and which of them a copy made of a configuration would lose.

Keras makes a copy of an object of what its `get_config` returns. An argument of `__init__` that is not among
that has its default in the copy, and nothing says so.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import keras

from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.kernels import arguments_made_with, lost_arguments
from recdrop_tune.models.layers import own_layers, walk
from recdrop_tune.models.source import same_random_state

_OF_KERAS = {"name", "dtype", "trainable"}
"""Arguments that Keras's own base classes write down, where they do."""


def is_custom(thing: Any) -> bool:
    """Says whether the class of an object is not Keras's own."""
    return not type(thing).__module__.startswith("keras.")


@contextmanager
def writing_down() -> Iterator[None]:
    """Lets Keras write configurations down without a warning about lambdas: these do not go into a file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The object being serialized includes a `lambda`")
        yield


def parts_of(thing: Any) -> list[Any]:
    """Lists an optimizer or a metric and the objects in it that have a configuration, a schedule say."""
    found: dict[int, Any] = {}
    waiting = [thing]
    while waiting:
        part = waiting.pop()
        if id(part) not in found:
            found[id(part)] = part
            held = getattr(part, "__dict__", {}).values()
            waiting.extend(each for each in held if _is_configured(each))
    return list(found.values())


def parts_of_model(model: Any) -> list[Any]:
    """Lists the layers in a model, each with its own initializers, regularizers and the like."""
    found, own = [], own_layers(model)
    for layer in walk(model):
        parts = (
            [] if layer in own else [part for part in vars(layer).values() if _is_configured(part)]
        )
        found += [layer, *(part for part in parts if not isinstance(part, keras.layers.Layer))]
    return found


def custom_parts(layers: Iterable[Any]) -> dict[str, Any]:
    """Returns the classes and functions in layers that are not Keras's, by the name that it writes down.

    Raises:
        InvalidArgumentError: Two of them have one name.
    """
    found: dict[str, Any] = {}
    for layer in layers:
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


def _is_configured(thing: Any) -> bool:
    return hasattr(thing, "get_config") and not isinstance(thing, type)


def check_arguments(argument: str, things: Iterable[Any], copies: Iterable[Any]) -> None:
    """Refuses what would be copied with another value of an argument.

    Args:
        argument: The argument that the error is about.
        things: The objects.
        copies: What was made of their configurations, in the same order; Keras's own may differ.

    Raises:
        InvalidArgumentError: A copy has an argument's default in place of its value, or may have it.
    """
    suspects, remade = list(_suspects(things)), list(_suspects(copies))
    if [type(each) for each, _ in suspects] != [type(each) for each, _ in remade]:
        return  # It is no copy of all the layers, which is refused as such.
    for (thing, unsaid), (copy, _) in zip(suspects, remade, strict=True):
        lost = [each.name for each in unsaid if not _is_kept(thing, copy, each)]
        if lost:
            raise _loses(argument, thing, lost, "a copy would have another value")


def not_made(
    argument: str, thing: Any, parts: Iterable[Any], error: Exception, fix: str
) -> InvalidArgumentError:
    """Words why Keras cannot make a copy of an object.

    Args:
        argument: The argument that the error is about.
        thing: The object.
        parts: All that it consists of: one of them may lack what no copy can be made without.
        error: What Keras said.
        fix: What to do, where it is another reason.
    """
    for part, unsaid in _suspects(parts):
        required = [each.name for each in unsaid if each.default is each.empty]
        if required:
            return _loses(argument, part, required, "no copy can be made")
    cause: BaseException = error
    while isinstance(cause.__context__, TypeError):  # Keras puts a long text of its own before it.
        cause = cause.__context__
    what = f"`{type(thing).__name__}`, of which it says {type(cause).__name__}: "
    return invalid_argument(
        argument,
        expected="what Keras can make anew from its configuration",
        received=what + next(iter(str(cause).splitlines()), ""),
        fix=fix,
    )


def _suspects(things: Iterable[Any]) -> Iterator[tuple[Any, list[inspect.Parameter]]]:
    """Yields the objects whose configuration does not have all of their arguments, with those."""
    for thing in things:
        unsaid = _unsaid(thing) if _is_of_user(type(thing)) else []
        if unsaid:
            yield thing, unsaid


def _is_of_user(kind: type) -> bool:
    return not kind.__module__.startswith(("keras.", "recdrop_tune.", "builtins"))


def _unsaid(thing: Any) -> list[inspect.Parameter]:
    """Lists the arguments of the user's `__init__` that are not in the configuration."""
    kind = type(thing)
    owner = _owner(kind, "get_config")
    # A layer without a `get_config` of its own: Keras notes the arguments, or finds that it cannot.
    noted = owner is keras.layers.Layer or issubclass(owner, keras.Model)
    if _is_of_user(_owner(kind, "from_config")) or (noted and not _is_of_user(owner)):
        return []
    try:
        said = {*thing.get_config(), *lost_arguments(thing), *_OF_KERAS}
    except NotImplementedError:  # A part that is written down nowhere.
        return []
    return [each for each in _parameters(kind) if each.name not in said]


def _owner(kind: type, name: str) -> type:
    return next((each for each in kind.__mro__ if name in vars(each)), object)


def _parameters(kind: type) -> Iterator[inspect.Parameter]:
    """Yields the arguments of a user's class, and of those above it that `**kwargs` are handed on to."""
    for each in kind.__mro__:
        if "__init__" not in vars(each):
            continue
        if not _is_of_user(each):
            return
        _, *parameters = inspect.signature(each.__init__).parameters.values()  # type: ignore[misc]
        yield from (
            one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        )
        if all(one.kind is not one.VAR_KEYWORD for one in parameters):
            return


def _is_kept(thing: Any, copy: Any, parameter: inspect.Parameter) -> bool:
    """Says whether a copy has the value of an argument that the configuration lacks."""
    made, remade = arguments_made_with(thing), arguments_made_with(copy)
    if made is not None and remade is not None:
        return _same(*(each.get(parameter.name, parameter.default) for each in (made, remade)))
    name = _attribute(thing, parameter.name)
    return name in vars(thing) and name in vars(copy) and _same(vars(thing)[name], vars(copy)[name])


def _attribute(thing: Any, argument: str) -> str:
    """Returns the attribute that an argument is probably kept in."""
    hidden = f"_{argument}"
    return hidden if hidden in vars(thing) and argument not in vars(thing) else argument


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    try:
        with same_random_state(), writing_down():
            pair = [keras.saving.serialize_keras_object(each) for each in (one, other)]
    except Exception:  # Keras does not write down everything.
        return False
    return bool(pair[0] == pair[1])


def _loses(argument: str, thing: Any, lost: list[str], so: str) -> InvalidArgumentError:
    kind, names = type(thing).__name__, ", ".join(f"`{name}`" for name in lost)
    return invalid_argument(
        argument,
        expected="classes whose `get_config` returns the arguments that an object was made with",
        received=f"`{kind}`, whose configuration lacks {names}: {so}",
        fix=f"Define `get_config` in `{kind}`: "
        f"`return {{**super().get_config(), {_entries(thing, lost)}}}`.",
    )


def remedy(thing: Any) -> str:
    """Says how a class is mended of whose objects no copy can be made."""
    names = [each.name for each in _parameters(type(thing))]
    if not names:
        return "Define `get_config` in your class, with all arguments that its `__init__` takes."
    return (
        f"Define `get_config` in `{type(thing).__name__}`: `return {{{_entries(thing, names)}}}`."
    )


def _entries(thing: Any, names: list[str]) -> str:
    return ", ".join(f'"{name}": self.{_attribute(thing, name)}' for name in names)
