"""Picks the next configuration of a search: one that waits, a new one, or none if all are tried."""

from __future__ import annotations

from itertools import islice
from typing import Any

from recdrop_tune.oracle._ask_tell import AskTell
from recdrop_tune.oracle._conditional import Values, combinations, complete, is_finite

# An ask costs milliseconds, a trial minutes: worth some asks before listing the configurations.
_MAX_DUPLICATES = 20
# More configurations than that are not listed in search of one not tried yet.
_MAX_LISTED = 20_000


def propose(
    oracle: Any, study: AskTell, waiting: list[dict[str, Any]], trial_id: str
) -> Values | None:
    """Asks until the answer is new.

    Args:
        oracle: The oracle: its space, and what it has tried.
        study: Where to ask.
        waiting: Configurations to try first; those that are tried are taken off.
        trial_id: Keras Tuner's id of the trial.

    Returns:
        The active values, by name; `None` once the whole space has been tried.
    """
    space = oracle.hyperparameters.space
    while waiting:
        values = complete(space, waiting.pop(0))
        if not _tried(oracle, values):
            return study.ask_for(trial_id, space, values)
    for _ in range(_MAX_DUPLICATES):
        values = study.ask(trial_id, space)
        if not _tried(oracle, values):
            return values
        study.discard(trial_id)
    untried = _first_untried(oracle)
    return None if untried is None else study.ask_for(trial_id, space, untried)


def _tried(oracle: Any, values: Values) -> bool:
    return any(trial.hyperparameters.values == values for trial in oracle.trials.values())


def _first_untried(oracle: Any) -> Values | None:
    space = oracle.hyperparameters.space
    if not is_finite(space):
        return None
    listed = islice(combinations(space), _MAX_LISTED)
    return next((values for values in listed if not _tried(oracle, values)), None)
