"""Which arguments of a user's classes a copy made of a configuration would lose.

Keras makes a copy of an object of what its `get_config` returns. An argument of `__init__` that is not among
that has its default in the copy, and nothing says so.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import keras

from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.kernels import arguments_made_with
from recdrop_tune.models.parts import arguments_of, is_own, owner, unsaid
from recdrop_tune.models.source import comparable, same_random_state


@contextmanager
def writing_down() -> Iterator[None]:
    """Lets Keras write configurations down without a warning about lambdas: these do not go into a file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The object being serialized includes a `lambda`")
        yield


@writing_down()
def check_arguments(argument: str, things: Iterable[Any], copies: Iterable[Any]) -> None:
    """Refuses what would be copied with another value of an argument.

    Args:
        argument: The argument that the error is about.
        things: The objects.
        copies: What was made of their configurations, in the same order; Keras's own may differ.

    Raises:
        InvalidArgumentError: A copy has an argument's default in place of its value, or may have it.
    """
    made, remade = list(_of_own_classes(things)), list(_of_own_classes(copies))
    if [type(each) for each, _ in made] != [type(each) for each, _ in remade]:
        return  # It is no copy of all the layers, which is refused as such.
    for (thing, lacking), (copy, _) in zip(made, remade, strict=True):
        had, has = _said_above(thing), _said_above(copy)
        own = [each for each in lacking if each.name not in had]
        lost = [each.name for each in own if not _is_kept(thing, copy, each)]
        forgotten = [name for name in had if name not in {*thing.get_config(), "name"}]
        lost += [name for name in forgotten if comparable(had[name]) != comparable(has.get(name))]
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
    for part, lacking in _of_own_classes(parts):
        required = [each.name for each in lacking if each.default is each.empty]
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


def _of_own_classes(things: Iterable[Any]) -> Iterator[tuple[Any, list[inspect.Parameter]]]:
    """Yields the objects of a user's classes, with the arguments that their configurations lack."""
    for thing in filter(_is_made_of_arguments, things):
        with suppress(NotImplementedError):  # A part that is written down nowhere.
            yield thing, unsaid(thing)


def _is_made_of_arguments(thing: Any) -> bool:
    """Says whether a copy of an object of a user's class is made by its arguments."""
    kind = type(thing)
    told_by, made_by = owner(kind, "get_config"), owner(kind, "from_config")
    # A model that Keras writes down is made of its layers.
    layered = issubclass(told_by, keras.Model) and not is_own(told_by)
    return is_own(kind) and not (is_own(made_by) or layered)


def _is_kept(thing: Any, copy: Any, parameter: inspect.Parameter) -> bool:
    """Says whether a copy has the value of an argument that the configuration lacks."""
    made, remade = arguments_made_with(thing), arguments_made_with(copy)
    if made is not None and remade is not None:
        return _same(*(each.get(parameter.name, parameter.default) for each in (made, remade)))
    name = _attribute(thing, parameter.name)
    return name in vars(thing) and name in vars(copy) and _same(vars(thing)[name], vars(copy)[name])


def _said_above(thing: Any) -> dict[str, Any]:
    """Returns what Keras's class writes down of an object of a user's class that is derived from it."""
    above = [
        each for each in type(thing).__mro__ if not is_own(each) and hasattr(each, "get_config")
    ]
    if not above or issubclass(above[0], keras.Model):
        return {}
    try:
        return dict(above[0].get_config(thing))
    except Exception:  # Keras leaves it to the user, whose class may have nothing of Keras's.
        return {}


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
    entries = _entries(thing, [name for name in lost if name not in _said_above(thing)])
    return invalid_argument(
        argument,
        expected="classes whose `get_config` returns the arguments that an object was made with",
        received=f"`{kind}`, whose configuration lacks {names}: {so}",
        fix=f"Define `get_config` in `{kind}`: "
        f"`return {{**super().get_config(), {entries or '...'}}}`.",
    )


def remedy(thing: Any) -> str:
    """Says how a class is mended of whose objects no copy can be made."""
    names = [each.name for each in arguments_of(type(thing))]
    if not names:
        return "Define `get_config` in your class, with all arguments that its `__init__` takes."
    return (
        f"Define `get_config` in `{type(thing).__name__}`: `return {{{_entries(thing, names)}}}`."
    )


def _entries(thing: Any, names: list[str]) -> str:
    return ", ".join(f'"{name}": self.{_attribute(thing, name)}' for name in names)
