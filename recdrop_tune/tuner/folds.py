"""The folds of a cross-validation, and the seeds of each training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from recdrop_tune.errors import check_cv as check_cv
from recdrop_tune.errors import invalid_argument
from recdrop_tune.oracle import twin_of

# Seeds of trainings, derived from the search's seed.


def seed_values(hyperparameters: Any) -> dict[str, Any]:
    """Returns the values that the seed of a trial is derived from: those without its dropout.

    Configurations that differ in their dropout alone have the same seed, so that what is different
    between them is the dropout, and not the luck of the first weights.

    Args:
        hyperparameters: The `keras_tuner.HyperParameters` of the trial.
    """
    twin = twin_of(hyperparameters)
    return dict((hyperparameters if twin is None else twin).values)


def trial_seed(seed: int, values: Mapping[str, Any], execution: int = 0) -> int:
    """Derives the seed of one training from the search's seed and from hyperparameters.

    So a trial has the same result whatever was run before it. The bookkeeping of Hyperband
    (`tuner/...`) counts: going on with a trial is another training.

    Args:
        seed: Seed of the search.
        values: Hyperparameters by name; see `seed_values` for those of a trial.
        execution: Which training of the trial it is, from 0.

    Example:
        >>> trial_seed(0, {"rate": 0.3}) == trial_seed(0, {"rate": 0.3}, execution=1)
        False
    """
    named: list[Any] = [seed, sorted(values.items())]
    text = json.dumps([*named, execution] if execution else named, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


# Cross-validation: one training for each fold of the data.

_DATA = ("x", "y", "sample_weight")


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
