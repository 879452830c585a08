"""Checks of the arguments of `tune`, all made before anything is started."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from recdrop_tune.errors import invalid_argument
from recdrop_tune.tracking._uris import redact, same_database
from recdrop_tune.tuner import TUNERS


def check_integers(**numbers: Any) -> None:
    """Raises unless all arguments are integers of at least 1; `seed` may be 0 or `None` too."""
    for argument, value in numbers.items():
        least, other = (0, " or None") if argument == "seed" else (1, "")
        if other and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            expected = f"an integer of at least {least}{other}"
            raise invalid_argument(argument, expected=expected, received=value)


def check_storage(tuner: str, storage: Any, uri: str) -> None:
    """Raises for an unknown tuner, and for an Optuna storage that cannot serve.

    It has no use with other tuners, and Optuna and MLflow cannot share a database.
    """
    if tuner not in TUNERS:
        raise invalid_argument("tuner", expected=f"one of {', '.join(TUNERS)}", received=tuner)
    if storage is not None and tuner != "optuna":
        raise invalid_argument(
            "storage", expected=f"None with tuner={tuner!r}: it is Optuna's", received="a storage"
        )
    address = storage if isinstance(storage, str) else getattr(storage, "url", None)
    if isinstance(address, str) and same_database(address, uri):
        raise invalid_argument(
            "storage",
            expected="another database than MLflow's: both keep their version in the same table",
            received=redact(address),
            fix="Give Optuna a file of its own, or leave `storage` out.",
        )


def check_validation(objective: str, validation: Any, fit_kwargs: dict[str, Any]) -> None:
    """Raises if the objective needs validation data and there are none."""
    given = fit_kwargs.get("validation_split") or fit_kwargs.get("validation_data")
    if objective.startswith("val_") and validation is None and not given:
        raise invalid_argument(
            "validation",
            expected=f"validation data, for the objective is {objective}",
            received=None,
            fix="Pass them, pass `validation_split=0.2` with arrays, or take another objective.",
        )
