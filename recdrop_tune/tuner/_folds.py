"""Cross-validation: one training for each fold of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import invalid_argument

_DATA = ("x", "y", "sample_weight")


def check_cv(cv: Any) -> Any:
    """Returns `cv` if it is a number of folds or has a `split` as scikit-learn's splitters have.

    Raises:
        InvalidArgumentError: It is neither.
    """
    if isinstance(cv, Integral) and not isinstance(cv, bool) and int(cv) >= 2:
        return int(cv)
    if cv is None or (callable(getattr(cv, "split", None)) and not isinstance(cv, str | bytes)):
        return cv
    raise invalid_argument(
        "cv",
        expected="None, a number of folds of at least 2, or a splitter with scikit-learn's `split`",
        received=cv,
        fix="For time series pass sklearn.model_selection.TimeSeriesSplit().",
    )


def folds(cv: Any, seed: int | None, fit: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the arguments of `Model.fit` for each fold.

    Args:
        cv: Number of folds (shuffled; with the classes in proportion where the targets are integers of
            shape `(samples,)`), or a splitter of scikit-learn's kind.
        seed: Seed of the shuffling.
        fit: Arguments of `Model.fit`, `x` and `y` arrays (or structures of arrays) among them; see
            `check_fold_data`.
    """
    data = {name: fit[name] for name in _DATA if fit.get(name) is not None}
    samples = len(keras.tree.flatten(data["x"])[0])
    target = keras.tree.flatten(data["y"])[0]
    for train, test in _splitter(cv, seed, target).split(np.zeros((samples, 1)), target):
        part = {name: _take(value, train) for name, value in data.items()}
        held_out = tuple(_take(value, test) for value in data.values())
        yield {**fit, **part, "validation_data": held_out}


def check_fold_data(fit: Mapping[str, Any]) -> None:
    """Checks that folds can be taken of the data.

    Args:
        fit: Arguments of `Model.fit`.

    Raises:
        InvalidArgumentError: There are no arrays to split, or validation data already.
    """
    for argument in ("validation_data", "validation_split"):
        if fit.get(argument):
            expected = "nothing beside `cv`, which takes the validation data from the training data"
            raise invalid_argument(argument, expected=expected, received=type(fit[argument]))
    data = {name: fit[name] for name in _DATA if fit.get(name) is not None}
    if (
        not all(hasattr(part, "__getitem__") for part in keras.tree.flatten(data))
        or "y" not in data
    ):
        raise invalid_argument(
            "x",
            expected="arrays x and y, for `cv` takes parts of them",
            received=type(fit.get("x")),
            fix="Without arrays pass validation data in place of `cv`.",
        )


def _splitter(cv: Any, seed: int | None, target: Any) -> Any:
    if not isinstance(cv, int):
        return cv
    # Here, because scikit-learn takes a second to import and few searches need it.
    from sklearn.model_selection import KFold, StratifiedKFold

    classes = np.ndim(target) == 1 and np.issubdtype(np.asarray(target).dtype, np.integer)
    kind = StratifiedKFold if classes else KFold
    return kind(cv, shuffle=True, random_state=seed)


def _take(value: Any, rows: Any) -> Any:
    return keras.tree.map_structure(lambda array: np.asarray(array)[rows], value)
