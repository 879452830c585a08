"""Seeds of trainings, derived from the search's seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def trial_seed(seed: int, values: Mapping[str, Any], execution: int = 0) -> int:
    """Derives the seed of one training from the search's seed and the trial's hyperparameters.

    So a trial has the same result whatever was run before it. The bookkeeping of Hyperband
    (`tuner/...`) counts: going on with a trial is another training.

    Args:
        seed: Seed of the search.
        values: The trial's hyperparameters by name.
        execution: Which training of the trial it is, from 0.

    Example:
        >>> trial_seed(0, {"rate": 0.3}) == trial_seed(0, {"rate": 0.3}, execution=1)
        False
    """
    named: list[Any] = [seed, sorted(values.items())]
    text = json.dumps([*named, execution] if execution else named, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
