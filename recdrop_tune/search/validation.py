"""Makes settings classes whose values are checked when they are made; and checks their single values.

It loads neither TensorFlow nor Optuna, Keras Tuner or MLflow: as long as they are not loaded, no value is
of a class of theirs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields
from functools import wraps
from numbers import Real
from typing import Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, PlainValidator, ValidationError, ValidationInfo
from pydantic.dataclasses import dataclass

from recdrop_tune.addresses import check_databases, resolve_uri
from recdrop_tune.catalog import PRUNER_NAMES, SAMPLER_NAMES
from recdrop_tune.errors import (
    LONGEST_NAME,
    InvalidArgumentError,
    check_cv,
    check_flag,
    check_integer,
    check_model_name,
    check_system_metrics,
    invalid_argument,
    is_name,
    is_share,
    shown,
)
from recdrop_tune.problems import error_of, is_unknown_name, suggestion

# How a settings class is made.

T = TypeVar("T")

Check = Callable[[str, Any], Any]
"""Takes the name of a value and the value; returns what is kept, or raises."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def checked(kind: type[T]) -> type[T]:
    """Makes a class a frozen dataclass that checks its values, and raises errors of this package."""
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    settings: Any = dataclass(frozen=True, repr=False, config=config)(kind)
    validate = settings.__init__

    @wraps(validate)
    def __init__(self: Any, *args: Any, **values: Any) -> None:
        try:
            validate(self, *args, **values)
        except ValidationError as error:
            raise _error(settings, error.errors()[0]) from None

    settings.__init__ = __init__
    settings.__repr__ = _repr
    return settings  # type: ignore[no-any-return]


def by(check: Check) -> PlainValidator:
    """Annotates a value of a settings class with its check."""

    def validate(value: Any, about: ValidationInfo) -> Any:
        return check(str(about.field_name), value)

    return PlainValidator(validate)


def _repr(self: Any) -> str:
    """Writes settings as errors show values: in few lines, and without passwords."""
    parts = [f"{each.name}={shown(getattr(self, each.name))}" for each in fields(self) if each.repr]
    return f"{type(self).__name__}({', '.join(parts)})"


def _error(kind: Any, problem: Mapping[str, Any]) -> InvalidArgumentError:
    names, place = [each.name for each in fields(kind)], problem["loc"][0]
    if is_unknown_name(problem):
        return InvalidArgumentError(
            f"`{kind.__name__}` has no argument `{place}`. {did_you_mean(place, names)}"
        )
    if problem["type"] in ("unexpected_positional_argument", "multiple_argument_values"):
        return InvalidArgumentError(
            f"`{kind.__name__}` takes one argument without a name, `{names[0]}`. Give the others by "
            f"their names: {', '.join(names[1:])}."
        )
    return error_of(problem, names[place] if isinstance(place, int) else str(place))


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Returns `Did you mean ...?` for a near miss, and otherwise the names that there are."""
    names = list(known)
    return suggestion(name, names) or f"There are: {', '.join(names)}."


# The checks of single values.


def _is_a(value: Any, module: str, name: str) -> bool:
    """Says whether a value is of a class; as long as its module is not loaded, nothing is."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def check_sampler(argument: str, value: Any) -> Any:
    """Returns a sampler, or its name, of Optuna's."""
    return _named(argument, value, SAMPLER_NAMES, "sampler")


def check_pruner(argument: str, value: Any) -> Any:
    """Returns a pruner, or its name, of Optuna's."""
    return _named(argument, value, PRUNER_NAMES, "pruner")


def _named(argument: str, value: Any, names: tuple[str, ...], what: str) -> Any:
    known = value is None or (isinstance(value, str) and value in names)
    if not known and not _is_a(value, f"optuna.{what}s", f"Base{what.capitalize()}"):
        expected = f"one of {', '.join(names)}, or a {what} of Optuna's"
        fix = suggestion(value, names)
        raise invalid_argument(argument, expected=expected, received=value, fix=fix)
    return value


def check_storage(argument: str, value: Any) -> Any:
    """Returns a storage, or its address, of Optuna's."""
    storage = _is_a(value, "optuna.storages", "BaseStorage")
    if value is not None and not isinstance(value, str) and not storage:
        expected = "the URL of a database, a storage of Optuna's, or None"
        raise invalid_argument(argument, expected=expected, received=value)
    check_databases(value, "")  # That it is not MLflow's is seen where both are known.
    return value


def check_folds(argument: str, value: Any) -> Any:
    """Returns a number of folds, or a splitter."""
    return check_cv(value)


def check_callbacks(argument: str, value: Any) -> tuple[Any, ...]:
    """Returns callbacks as a tuple: many, one, or none; functions that make one are as good."""

    def is_one(each: Any) -> bool:
        return callable(each) or _is_a(each, "keras.callbacks", "Callback")

    many = [value] if is_one(value) else () if value is None else value
    try:
        listed = tuple(many)
    except TypeError:
        listed = (many,)
    if not all(map(is_one, listed)):
        expected = "keras.callbacks.Callback objects, or functions that make one"
        raise invalid_argument(argument, expected=expected, received=value)
    return listed


def check_integer_or_none(argument: str, value: Any) -> int | None:
    """Returns an integer of at least 1, or `None`."""
    return None if value is None else check_integer(argument, value)


def check_number_of_models(argument: str, value: Any) -> int:
    """Returns an integer of at least 0."""
    return check_integer(argument, value, 0)


def check_fit(argument: str, value: Any) -> dict[str, Any]:
    """Returns arguments of `Model.fit`."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        expected = "a mapping of arguments of keras.Model.fit, such as {'class_weight': ...}"
        raise invalid_argument(argument, expected=expected, received=type(value).__name__)
    split = value.get("validation_split")
    if split is not None and not (_is_number(split) and 0 <= split < 1):
        raise invalid_argument(argument, expected="0 <= validation_split < 1", received=split)
    return dict(value)


def _is_number(value: Any) -> bool:
    # Not in place: for mypy a `Real` cannot be compared. `float(value)` of a huge integer would overflow.
    return isinstance(value, Real)


def check_gpus(argument: str, value: Any) -> Any:
    """Returns a number of GPUs that Ray takes, or `None`."""
    if value is not None and not is_share(value):
        expected = "a whole number of GPUs, a fraction between 0 and 1, or None"
        raise invalid_argument(argument, expected=expected, received=value)
    return value


def check_cpus(argument: str, value: Any) -> Any:
    """Returns a number of CPU cores that Ray takes."""
    if not (is_share(value) and value > 0):
        expected = "a whole number of CPU cores, or a fraction between 0 and 1"
        raise invalid_argument(argument, expected=expected, received=value)
    return value


def check_address(argument: str, value: Any) -> Any:
    """Returns the address of a Ray cluster, or `None`."""
    if value is not None and not (isinstance(value, str) and value):
        expected = "None, 'auto', 'host:port' or 'ray://host:port'"
        raise invalid_argument(argument, expected=expected, received=value)
    return value


def check_experiment(argument: str, value: Any) -> Any:
    """Returns the name of an MLflow experiment, or `None`."""
    if value is not None and not is_name(value):
        expected = f"a name of at most {LONGEST_NAME} characters, in one line"
        raise invalid_argument(argument, expected=expected, received=value)
    return value


def check_uri(argument: str, value: Any) -> Any:
    """Returns the address of a tracking store, or `None`."""
    if value is not None:
        resolve_uri(value)
    return value


def check_registered_name(argument: str, value: Any) -> Any:
    """Returns the name of a registered model, or `None`."""
    check_model_name(value)
    return value


def check_measuring(argument: str, value: Any) -> bool:
    """Returns whether a machine is to be measured; raises where it cannot be."""
    wanted = check_flag(argument, value)
    if wanted:
        check_system_metrics()
    return wanted
