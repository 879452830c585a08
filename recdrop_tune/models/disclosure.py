"""What the configuration of a compiled model does not say.

Most of it can be found: arguments that Keras leaves out, what `adapt` has learned, what is left out of the
weight decay, the values that a function reads beside its arguments. Where something may be hidden that
cannot, the model is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import keras
import numpy as np

from recdrop_tune.kernels import (
    compile_arguments,
    excluded_from_decay,
    lost_arguments,
    uses_weight_decay,
)
from recdrop_tune.models.adaptation import Adapted
from recdrop_tune.models.layers import is_of_layers, learning_layers, walk
from recdrop_tune.models.parts import NOTING, is_own, owner, parts_of, unsaid

_PLAIN = bool | int | float | complex | str | bytes | np.generic | None


def undisclosed(model: Any) -> list[Any]:
    """Returns what the configuration of a compiled model lacks, as data that Keras can write down.

    Raises:
        ValueError: Something in the model may compute with values that nothing says.
    """
    _check_names(model)
    held = {id(layer) for layer in walk(model)}
    told: list[Any] = [_restraints(model), _without_decay(model)]
    for part in parts(model):
        if isinstance(part, keras.layers.Layer) and id(part) not in held and part.weights:
            raise ValueError(f"The weights of {part} are not the model's.")
        told.append(_of_part(part))
    return told


def parts(model: Any) -> list[Any]:
    """Lists what a compiled model is made of: all that has a configuration, layers first, each once."""
    return parts_of(*walk(model), compile_arguments(model), model.optimizer, _restraints(model))


def _check_names(model: Any) -> None:
    """Refuses names in the arguments of `compile` that stand for a class or a function of a user's own."""
    for text in keras.tree.flatten(compile_arguments(model)):
        if isinstance(text, str) and keras.saving.get_registered_object(text) is not None:
            raise ValueError(f"What is called {text} is not Keras's own.")


def _restraints(model: Any) -> list[Any]:
    """Returns the constraints and regularizers of the variables, which may have been set after the layers."""
    kinds = ("constraint", "regularizer")
    given = [[getattr(each, kind, None) for kind in kinds] for each in model.variables]
    return given if any(map(any, given)) else []


def _without_decay(model: Any) -> list[int]:
    """Returns which of the variables that are trained are left out of the weight decay, by number.

    Learned rates count as left out where nothing was said, for `spare_rates` will do that.
    """
    logits = {id(each) for layer in learning_layers(model) for each in layer.logits.values()}
    told = excluded_from_decay(model.optimizer) != (None, False)
    return [
        number
        for number, variable in enumerate(model.trainable_variables)
        if not uses_weight_decay(model.optimizer, variable) or (not told and id(variable) in logits)
    ]


def _of_part(part: Any) -> list[Any]:
    """Returns what the configuration of a part lacks.

    Raises:
        ValueError: There may be more.
    """
    told: list[Any] = []
    if isinstance(part, keras.losses.Loss | keras.metrics.Metric):
        told += [lost_arguments(part), str(part.dtype)]
    if isinstance(part, keras.layers.Layer):
        told.append(part.autocast)
    if callable(getattr(part, "adapt", None)):
        if is_own(owner(type(part), "adapt")):
            raise ValueError(f"What {part} learns of data is its own.")
        learned = Adapted.of(part)
        told += [learned.variables, learned.vocabulary]
    reader = _Reader()
    for name, each in getattr(part, "__dict__", {}).items():
        # Keras puts functions of its own around some methods, and into a model those that train it.
        given = isinstance(each, FunctionType) and not hasattr(type(part), name)
        if given and (is_own(each) or not is_of_layers(part)):
            reader.function(each)
    if is_own(type(part)):
        _check_arguments(part)
        told += _plain_attributes(part)
        for kind in filter(is_own, type(part).__mro__):
            reader.members(kind)
    return told + reader.found


def _plain_attributes(part: Any) -> list[str]:
    """Returns what an object of a user's class holds, whether its configuration has it or not.

    Of an initializer only what it has made is of importance, and that is copied.
    """
    if isinstance(part, keras.initializers.Initializer):
        return []
    held = getattr(part, "__dict__", {}).items()
    # An optimizer is built when a training begins.
    return [f"{name}={each!r}" for name, each in held if name != "built" and _is_plain(each)]


def _check_arguments(part: Any) -> None:
    """Refuses an object of a user's class whose configuration may lack an argument of its constructor.

    Raises:
        ValueError: It lacks one, or the constructor does not name them all and nobody but Keras's class
            writes them down.
    """
    kind = type(part)
    made_by, told_by = (owner(kind, name) for name in ("__init__", "get_config"))
    taken = inspect.signature(made_by.__init__).parameters.values()  # type: ignore[misc]
    unnamed = any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in taken)
    if is_own(made_by) and unnamed and not (is_own(told_by) or told_by in NOTING):
        raise ValueError(f"{kind} does not say what it was made with.")
    # What Keras's own class takes is among the parts and attributes of the object.
    base = next(each for each in kind.__mro__ if not is_own(each))
    of_base = inspect.signature(base.__init__).parameters  # type: ignore[misc]
    lacking = {each.name for each in unsaid(part)} - {*of_base}
    if lacking:
        raise ValueError(f"The configuration of {kind} lacks {lacking}.")


class _Reader:
    """Finds what functions compute with beside their arguments.

    Attributes:
        found: The values and where they are read, as text.

    Raises:
        ValueError: A value is no plain one, so that it may change, or has parts that are unknown.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        self._seen: set[int] = set()

    def members(self, kind: type) -> None:
        """Reads the methods and the values of a class."""
        for name, member in vars(kind).items():
            # Such as `__doc__` and `__dict__`; and what the `abc` module keeps.
            if name != "_abc_impl" and (isinstance(member, FunctionType) or name[:2] != "__"):
                method = getattr(member, "__func__", getattr(member, "fget", member))
                self._value(f"{kind.__qualname__}.{name}", method, ())

    def function(self, function: FunctionType) -> None:
        """Notes which function it is, and reads globals, variables of enclosing functions, and defaults."""
        code, known = function.__code__, function.__globals__
        place = f"{function.__module__}.{function.__qualname__}:{code.co_firstlineno}"
        self.found.append(place)
        if not is_own(function) or id(function) in self._seen:
            return
        self._seen.add(id(function))
        names = set(_names(code))
        values = {name: known[name] for name in names if name in known}
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        values |= {name: cell.cell_contents for name, cell in cells}
        values |= function.__kwdefaults__ or {}
        values |= {f"default {n}": each for n, each in enumerate(function.__defaults__ or ())}
        for name in sorted(values):
            self._value(f"{place}:{name}", values[name], names)

    def _value(self, place: str, value: Any, names: Iterable[str]) -> None:
        """Notes a value, and reads what functions with these names in them may read of it."""
        if _is_plain(value):
            self.found.append(f"{place}={value!r}")
            return
        if not isinstance(value, FunctionType | BuiltinFunctionType | np.ufunc | ModuleType | type):
            raise ValueError(f"{place} is a {type(value).__name__}.")
        self.found.append(f"{place}={getattr(value, '__qualname__', value.__name__)}")
        if isinstance(value, FunctionType):
            self.function(value)
        elif isinstance(value, ModuleType | type) and is_own(value) and id(value) not in self._seen:
            self._seen.add(id(value))
            for name in sorted({*names} & {*vars(value)}):
                self._value(f"{value.__name__}.{name}", vars(value)[name], names)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)


def _names(code: CodeType) -> Iterator[str]:
    """Yields the names of globals and attributes in code, and in that of the functions inside."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
