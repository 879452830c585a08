"""What dropout was worth in a search, before any confirmation: by its best trial, and by each wrapper."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from recdrop_tune.oracle import (
    NONE,
    active_values,
    best_dropping,
    first_value,
    is_wrapper,
    objectives,
    offers_none,
    ranked,
    reached,
    twin_among,
)
from recdrop_tune.spaces import plain_names
from recdrop_tune.standing import amount, gained


@dataclass(frozen=True)
class TwinGain:
    """A trial with dropout against its twin: the same hyperparameters and seeds, without dropout.

    Attributes:
        trial_id: The trial.
        twin_id: The trial of its twin.
        score: The trial's score.
        twin_score: The twin's.
        gain: By how much dropout is better, in units of the objective; negative where it is worse.
        spread: Standard deviation of the score over the trainings of a trial, the mean of the two; NaN where
            a trial is one training.
    """

    trial_id: str
    twin_id: str
    score: float
    twin_score: float
    gain: float
    spread: float

    @property
    def text(self) -> str:
        """The gain as a number, or `no gain` where it is nothing or less than trainings differ by."""
        words = "no gain" if abs(self.gain) < self.spread else gained(self.gain)
        return words if words == "no gain" else f"gain {words}"


def twin_gain(oracle: Any, trial: Any) -> TwinGain | None:
    """Compares a complete trial with its twin.

    Args:
        oracle: The oracle of the search.
        trial: The trial, with dropout.

    Returns:
        The comparison; `None` if the twin was not completed.
    """
    complete = [(each.trial_id, False) for each in ranked(oracle)]
    found = twin_among(oracle, trial, complete)
    if found is None:
        return None
    twin, first = oracle.trials[found[0]], objectives(oracle.objective)[0]
    sign = 1.0 if first.direction == "max" else -1.0
    score, without = (first_value(each, oracle.objective) for each in (trial, twin))
    spreads = [reached(each, oracle.objective).std or math.nan for each in (trial, twin)]
    return TwinGain(
        str(trial.trial_id),
        str(twin.trial_id),
        score,
        without,
        sign * (score - without),
        math.sqrt((spreads[0] ** 2 + spreads[1] ** 2) / 2),
    )


def best_twin_gain(oracle: Any) -> TwinGain | None:
    """Compares the best trial that has dropout with its twin; `None` if one of them was not completed."""
    best = best_dropping(oracle)
    return None if best is None else twin_gain(oracle, best)


def gain_line(oracle: Any) -> str:
    """Says what dropout was worth in a search without a confirmation.

    Args:
        oracle: The oracle of the search.
    """
    best = best_dropping(oracle)
    if best is None:
        return "What dropout is worth is not known: no trial with dropout was completed."
    gain, name = best_twin_gain(oracle), objectives(oracle.objective)[0].name
    ahead = "" if ranked(oracle)[0] is best else "The best trial has no dropout. "
    if gain is None:
        why = "its twin, the same settings without dropout, was not completed"
        if not offers_none(oracle.hyperparameters.space):
            why = "the space does not offer `none`"
        return f"{ahead}What dropout is worth is not known: {why}. `confirm=1` trains and compares both."
    number = oracle.start_order.index(gain.trial_id)
    twin = oracle.start_order.index(gain.twin_id)
    said = (
        f"{ahead}Over the same settings without dropout: {gain.text}; {name} {amount(gain.score)} with it "
        f"(trial {number}), {amount(gain.twin_score)} without (trial {twin})."
    )
    if math.isnan(gain.spread):
        return f"{said} One training each, which proves little: `confirm=3` compares them with fresh seeds."
    return (
        f"{said} Trainings of one configuration differ by {amount(gain.spread)}, and the best of many looks "
        "better than it is: `confirm=3` compares them with fresh seeds."
    )


def wrapper_frame(oracle: Any) -> pd.DataFrame:
    """Returns one row for each wrapper of each layer, the best first; those never tried come last.

    Columns: `layer` (empty where there is one set of wrappers), `wrapper`, `trials`, `complete`, `best`
    (score of the best complete trial), `gain` (of the best complete trial whose twin was completed too,
    over that twin), `state` (`"complete"`, `"only stopped early"`, `"failed"`, `"under way"` or
    `"never tried"`).

    Args:
        oracle: The oracle of the search.
    """
    wrappers = [hp for hp in oracle.hyperparameters.space if is_wrapper(hp)]
    each = dict.fromkeys((hp.name, str(value)) for hp in wrappers for value in hp.values)
    rows = [_row(oracle, name, wrapper) for name, wrapper in each]
    columns = ["layer", "wrapper", "trials", "complete", "best", "gain", "state"]
    frame = pd.DataFrame(rows, columns=columns).astype(
        {"layer": "string", "wrapper": "string", "trials": "Int64", "complete": "Int64"}
        | {"best": "Float64", "gain": "Float64", "state": "string"}
    )
    ascending = objectives(oracle.objective)[0].direction != "max"
    ordered = frame.sort_values(
        ["best", "trials"], ascending=[ascending, False], na_position="last", kind="stable"
    )
    return ordered.sort_values("layer", kind="stable").reset_index(drop=True)


def _row(oracle: Any, name: str, wrapper: str) -> dict[str, Any]:
    trials = [
        trial
        for trial in oracle.trials.values()
        if active_values(trial.hyperparameters).get(name) == wrapper
    ]
    complete = [trial for trial in ranked(oracle) if trial in trials]
    gains = (twin_gain(oracle, trial) for trial in complete if wrapper != NONE)
    gain = next((each.gain for each in gains if each is not None), None)
    (shown,) = plain_names({name: None})
    return {
        "layer": shown.rpartition("/")[0],
        "wrapper": wrapper,
        "trials": len(trials),
        "complete": len(complete),
        "best": first_value(complete[0], oracle.objective) if complete else None,
        "gain": gain,
        "state": _state([trial.status for trial in trials]),
    }


def _state(statuses: list[str]) -> str:
    words = {"COMPLETED": "complete", "STOPPED": "only stopped early", "RUNNING": "not finished"}
    found = [word for status, word in words.items() if status in statuses]
    return found[0] if found else "failed" if statuses else "never tried"
