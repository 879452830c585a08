"""Makes settings classes whose values are checked when they are made; and checks their single values.

It loads neither TensorFlow nor Optuna, Keras Tuner or MLflow: as long as they are not loaded, no value is
of a class of theirs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields
from functools import partial, wraps
from math import inf, isfinite
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, PlainValidator, ValidationError
from pydantic.dataclasses import dataclass

from recdrop_tune.addresses import check_databases, resolve_uri
from recdrop_tune.catalog import PRUNER_NAMES, SAMPLER_NAMES, TASK_NAMES
from recdrop_tune.errors import (
    LONGEST_NAME,
    InvalidArgumentError,
    check_flag,
    check_integer,
    check_model_name,
    check_seconds,
    check_system_metrics,
    invalid_argument,
    is_name,
    is_share,
    shown,
)
from recdrop_tune.files import as_folders
from recdrop_tune.problems import error_of, is_unknown_name, suggestion

# How a settings class is made.

T = TypeVar("T")

Check = Callable[[Any], Any]
"""Takes a value; returns what is kept, or raises."""


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
    return PlainValidator(check)


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


# The checks of single values. The error gets the name of the value where it is raised.


def _is_a(value: Any, module: str, name: str) -> bool:
    """Says whether a value is of a class; as long as its module is not loaded, nothing is."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def _that(accepts: Callable[[Any], bool], expected: str) -> Check:
    """Makes the check that a value is accepted."""

    def check(value: Any) -> Any:
        if not accepts(value):
            raise invalid_argument("", expected=expected, received=value)
        return value

    return check


def _named(names: tuple[str, ...], what: str) -> Check:
    """Makes the check that a value is a sampler or pruner of Optuna's, its name, or `None`."""

    def check(value: Any) -> Any:
        known = value is None or (isinstance(value, str) and value in names)
        if not known and not _is_a(value, f"optuna.{what}s", f"Base{what.capitalize()}"):
            expected = f"one of {', '.join(names)}, or an Optuna {what}"
            fix = suggestion(value, names)
            raise invalid_argument("", expected=expected, received=value, fix=fix)
        return value

    return check


check_positive = partial(check_integer, "")
check_not_negative = partial(check_integer, "", least=0)
check_timeout = partial(check_seconds, "")
check_sampler = _named(SAMPLER_NAMES, "sampler")
check_pruner = _named(PRUNER_NAMES, "pruner")
check_gpus = _that(
    lambda value: value is None or is_share(value),
    "a whole number of GPUs, a fraction between 0 and 1, or None",
)
check_cpus = _that(
    lambda value: is_share(value) and value > 0,
    "a whole number of CPU cores, or a fraction between 0 and 1",
)
check_address = _that(
    lambda value: value is None or (isinstance(value, str) and value != ""),
    "None, 'auto', 'host:port' or 'ray://host:port'",
)
check_experiment = _that(
    lambda value: value is None or is_name(value),
    f"a name of at most {LONGEST_NAME} characters, in one line",
)


def check_storage(value: Any) -> Any:
    """Returns a storage, or its address, of Optuna's."""
    storage = _is_a(value, "optuna.storages", "BaseStorage")
    if value is not None and not isinstance(value, str) and not storage:
        expected = "the URL of a database, a storage of Optuna's, or None"
        raise invalid_argument("", expected=expected, received=value)
    check_databases(value, "")  # That it is not MLflow's is seen where both are known.
    return value


def check_points(value: Any) -> tuple[dict[str, Any], ...]:
    """Returns configurations as a tuple: many, one, or none."""
    listed = (value,) if isinstance(value, Mapping) else () if value is None else value
    named = isinstance(listed, list | tuple) and all(
        isinstance(each, Mapping) and all(isinstance(name, str) for name in each) for each in listed
    )
    if not named:
        expected = "a list of values by name, such as [{'wrapper': 'recurrent', 'rate': 0.3}]"
        raise invalid_argument("", expected=expected, received=value)
    return tuple(map(dict, listed))


def check_folders(value: Any) -> tuple[Path, ...]:
    """Returns project folders as a tuple of absolute paths: many, one, or none."""
    return tuple(as_folders("", () if value is None else value))


def check_task(value: Any) -> Any:
    """Returns the name of a task, or `None`."""
    if value is not None and not (isinstance(value, str) and value in TASK_NAMES):
        expected = f"one of {', '.join(TASK_NAMES)}, or None"
        fix = suggestion(value, TASK_NAMES)
        raise invalid_argument("", expected=expected, received=value, fix=fix)
    return value


check_mask_value = _that(
    lambda value: (
        value is None
        or (isinstance(value, Real) and not isinstance(value, bool) and isfinite(value))
    ),
    "a finite number or None",
)


def check_metrics(value: Any) -> tuple[Any, ...]:
    """Returns Keras metrics, or their names, as a tuple: many, one, or none."""
    listed = tuple(value) if isinstance(value, list | tuple) else () if value is None else (value,)
    if not all(isinstance(each, str) or _is_a(each, "keras.metrics", "Metric") for each in listed):
        expected = "names of Keras metrics or keras.metrics.Metric"
        raise invalid_argument("", expected=expected, received=value)
    return listed


def check_groups(value: Any) -> Any:
    """Returns the groups of samples as they are, if there is one for each."""
    sized = hasattr(value, "__len__") and getattr(value, "ndim", 1) == 1
    if value is not None and (isinstance(value, str) or not sized):
        expected = "a group for each sample, or None"
        raise invalid_argument("", expected=expected, received=type(value))
    return value


def check_class_weight(value: Any) -> Any:
    """Returns weights by label as a dict, or `"balanced"`."""
    if value is None or (isinstance(value, str) and value == "balanced"):
        return value
    if not isinstance(value, Mapping) or not all(
        isinstance(label, Integral) and isinstance(weight, Real) and 0 <= weight < inf  # type: ignore[operator]
        for label, weight in value.items()
    ):
        expected = "'balanced', or weights of at least 0 by integer label, such as {0: 1.0, 1: 5.0}"
        listed = hasattr(value, "__len__") and not isinstance(value, str | Mapping)
        fix = "Of weights in the order of the labels make dict(enumerate(weights))." * listed
        raise invalid_argument("", expected=expected, received=value, fix=fix)
    return {int(label): float(weight) for label, weight in value.items()}


def check_positive_or_none(value: Any) -> int | None:
    """Returns an integer of at least 1, or `None`."""
    return None if value is None else check_positive(value)


def check_fit(value: Any) -> dict[str, Any]:
    """Returns arguments of `Model.fit`."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        expected = "a mapping of arguments of keras.Model.fit, such as {'class_weight': ...}"
        raise invalid_argument("", expected=expected, received=type(value).__name__)
    split: Any = value.get("validation_split")
    if split is not None and not (isinstance(split, Real) and 0 <= split < 1):  # type: ignore[operator]
        raise invalid_argument("", expected="0 <= validation_split < 1", received=split)
    return dict(value)


def check_cache(value: Any) -> bool | Path:
    """Returns whether something is kept, or the folder to keep it in."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, str | os.PathLike) or value == "":
        raise invalid_argument("", expected="True, False or the path of a folder", received=value)
    return Path(value).expanduser().absolute()


def check_uri(value: Any) -> Any:
    """Returns the address of a tracking store, or `None`."""
    if value is not None:
        resolve_uri(value)
    return value


def check_registered_name(value: Any) -> Any:
    """Returns the name of a registered model, or `None`."""
    check_model_name(value)
    return value


def check_measuring(value: Any) -> bool:
    """Returns whether a machine is to be measured; raises where it cannot be."""
    wanted = check_flag("", value)
    if wanted:
        check_system_metrics()
    return wanted
