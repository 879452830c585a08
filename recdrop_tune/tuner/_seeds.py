"""Seeds of trainings, derived from the search's seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from recdrop_tune.oracle import twin_of


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
