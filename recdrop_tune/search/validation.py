"""Makes settings classes whose values are checked, in errors of this package; and checks single values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields
from difflib import get_close_matches
from functools import wraps
from numbers import Real
from typing import Any, TypeVar, dataclass_transform

import keras
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from pydantic import ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from recdrop_tune.errors import (
    LONGEST_NAME,
    InvalidArgumentError,
    check_flag,
    check_integer,
    invalid_argument,
    is_name,
    shown,
)
from recdrop_tune.mlflow_store import (
    check_databases,
    check_model_name,
    check_system_metrics,
    resolve_uri,
)
from recdrop_tune.oracle import make_pruner, make_sampler
from recdrop_tune.ray_workers import is_share
from recdrop_tune.tuner import check_cv

# How a settings class is made, and how what pydantic finds becomes an error of this package.

_EXPECTED = {
    "int_type": "an integer",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "literal_error": "min or max",
}
_UNKNOWN = ("extra_forbidden", "invalid_key", "unexpected_keyword_argument")

T = TypeVar("T")


def is_unknown_name(problem: Mapping[str, Any]) -> bool:
    """Says whether pydantic has found a name that there is not, rather than a wrong value."""
    return problem["type"] in _UNKNOWN


def error_of(problem: Mapping[str, Any], argument: str) -> InvalidArgumentError:
    """Makes an error of this package of what pydantic says of one value.

    Args:
        problem: One of `ValidationError.errors()`.
        argument: The name of the value, as the caller wrote it.
    """
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, InvalidArgumentError) and cause.expected:
        return cause.renamed(argument)
    said = _EXPECTED.get(problem["type"]) or str(cause or problem["msg"])
    return invalid_argument(argument, expected=said, received=problem["input"])


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Returns `Did you mean ...?` for a near miss, and otherwise the names that there are."""
    names = list(known)
    near = get_close_matches(name, names, n=1) if isinstance(name, str) else []
    return f"Did you mean `{near[0]}`?" if near else f"There are: {', '.join(names)}."


Check = Callable[[str, Any], Any]
"""Takes the name of a value and the value; returns what is kept, or raises."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def checked(**checks: Check) -> Callable[[type[T]], type[T]]:
    """Makes a class a frozen dataclass that checks its values, and raises errors of this package.

    Args:
        **checks: The check of each value, by its name.
    """

    def make(kind: type[T]) -> type[T]:
        for name, check in checks.items():
            setattr(kind, f"_check_{name}", field_validator(name, mode="plain")(_validator(check)))
        configured = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
        made: Any = dataclass(frozen=True, repr=False, config=configured)(kind)
        validate = made.__init__

        @wraps(validate)
        def __init__(self: Any, *args: Any, **values: Any) -> None:
            try:
                validate(self, *args, **values)
            except ValidationError as error:
                raise _error(made, error.errors()[0]) from None

        made.__init__ = __init__
        made.__repr__ = _shown
        return made  # type: ignore[no-any-return]

    return make


def _validator(check: Check) -> Any:
    def validate(cls: Any, value: Any, about: ValidationInfo) -> Any:
        return check(str(about.field_name), value)

    return validate


def _shown(self: Any) -> str:
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


# The checks of single values.


def check_sampler(argument: str, value: Any) -> Any:
    """Returns a sampler, or its name, of Optuna's."""
    if not isinstance(value, BaseSampler):
        make_sampler(value, 0)  # It raises for an unknown name.
    return value


def check_pruner(argument: str, value: Any) -> Any:
    """Returns a pruner, or its name, of Optuna's."""
    if not isinstance(value, BasePruner):
        make_pruner(value)
    return value


def check_storage(argument: str, value: Any) -> Any:
    """Returns a storage, or its address, of Optuna's."""
    if value is not None and not isinstance(value, str | BaseStorage):
        expected = "the URL of a database, a storage of Optuna's, or None"
        raise invalid_argument(argument, expected=expected, received=value)
    check_databases(value, "")  # That it is not MLflow's is seen where both are known.
    return value


def check_folds(argument: str, value: Any) -> Any:
    """Returns a number of folds, or a splitter."""
    return check_cv(value)


def check_callbacks(argument: str, value: Any) -> tuple[Any, ...]:
    """Returns callbacks as a tuple: many, one, or none; functions that make one are as good."""
    one = isinstance(value, keras.callbacks.Callback) or callable(value)
    many = [value] if one else () if value is None else value
    try:
        listed = tuple(many)
    except TypeError:
        listed = (many,)
    if not all(isinstance(each, keras.callbacks.Callback) or callable(each) for each in listed):
        expected = "keras.callbacks.Callback objects, or functions that make one"
        raise invalid_argument(argument, expected=expected, received=value)
    return listed


def check_integer_or_none(argument: str, value: Any, least: int) -> int | None:
    """Returns an integer that is large enough, or `None`."""
    return None if value is None else check_integer(argument, value, least)


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
