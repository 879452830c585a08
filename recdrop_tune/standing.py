"""How a search stands: which trial is best, which is whose twin, and what dropout is worth.

The twin of a trial has the same configuration without dropout. Compared with any other trial, dropout would
get the credit for what a learning rate or a number of units did.

These are pure functions of `Records`. Progress lines, the summary, the report, `compare` and MLflow's
description all call them, so they cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recdrop_tune.events import Configuration
from recdrop_tune.hyperparameters import (
    NONE,
    Space,
    Values,
    drops,
    is_twin,
    with_dropout,
    without_dropout,
)
from recdrop_tune.records import Records, TrialRecord
from recdrop_tune.states import TrialState

if TYPE_CHECKING:
    import pandas as pd

MIN_GAIN = 0.01
"""The gain that is worth another trial: a part of the best loss, or of the error rate, 1 - value."""


_ORDER = {TrialState.COMPLETE: 0, TrialState.PRUNED: 1}
"""The order of states in tables; trials in other states come last."""


def ordered(records: Records) -> list[TrialRecord]:
    """Lists all trials: complete ones best first, then pruned ones best first, then the rest."""
    return sorted(
        records.trials.values(),
        key=lambda trial: (_ORDER.get(trial.state, len(_ORDER)), trial.cost, trial.number),
    )


def ranked(records: Records) -> list[TrialRecord]:
    """Lists the complete trials that have a finite score, best first by their scores in the search."""
    return [
        trial
        for trial in ordered(records)
        if trial.state == TrialState.COMPLETE and trial.score is not None
    ]


def best(records: Records) -> TrialRecord | None:
    """Returns the best complete trial; see `ranked`."""
    return next(iter(ranked(records)), None)


def values_of(records: Records, configuration: Configuration) -> Values:
    """Returns the active hyperparameters of a configuration that the confirmation trains."""
    return derived_values(records.space, configuration, lambda id: records.trials[id].active)


def derived_values(
    space: Space, configuration: Configuration, values_of_trial: Callable[[str], Values]
) -> Values:
    """Returns the values of a configuration, from those of the trials that it derives from."""
    values = values_of_trial(configuration.trial_id)
    if configuration.twin:
        return without_dropout(space, values) or values
    if configuration.dropout_of is not None:
        return with_dropout(space, values, values_of_trial(configuration.dropout_of))
    return values


@dataclass(frozen=True)
class Gain:
    """What dropout is worth: a trial with dropout against its twin.

    Attributes:
        trial: The trial.
        twin: Its twin.
        score: The trial's score.
        twin_score: The same for the twin.
        value: By how much dropout is better, in units of the objective; negative if it is worse.
        spread: Standard deviation of a score over the trainings of one trial; NaN if there was one each.
        expected: The gain to expect with other seeds, corrected for the choice of the trial; NaN if that is
            not known.
    """

    trial: TrialRecord
    twin: TrialRecord
    score: float
    twin_score: float
    value: float
    spread: float = math.nan
    expected: float = math.nan

    @property
    def stated(self) -> float:
        """`expected`, or `value` if that is not known."""
        return self.value if math.isnan(self.expected) else self.expected

    def __str__(self) -> str:
        if not self.value:
            return "no gain"
        # Trainings of one configuration differ by as much.
        small = abs(self.value) < self.spread
        return (
            f"gain {format_number(self.value)}" + f" (spread {format_number(self.spread)})" * small
        )


def gain(records: Records, trial: TrialRecord | None = None) -> Gain | None:
    """Compares a trial, by default the best one with dropout, with its twin; None if one is not complete."""
    order = ranked(records)
    trial = trial or next((each for each in order if drops(each.hyperparameters)), None)
    if trial is None:
        return None
    twin = next((e for e in order if is_twin(e.hyperparameters, trial.hyperparameters)), None)
    if twin is None or trial.score is None or twin.score is None:
        return None
    spread = math.hypot(trial.spread, twin.spread) / math.sqrt(2)
    value = twin.cost - trial.cost
    return Gain(trial, twin, trial.score, twin.score, value, spread)


def by_wrapper(records: Records, offered: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Returns one row for each wrapper of each layer, best first; those never tried come last.

    `offered` are the wrappers of the space, by the name of their hyperparameter. The columns are `layer`
    (empty if all layers share one wrapper), `wrapper`, `trials`, `complete`, `best` (score of the best
    complete trial), `gain` (of that trial, if its twin is complete too), `state` (`"complete"`, `"only
    stopped early"`, `"not finished"`, `"failed"` or `"never tried"`).
    """
    import pandas as pd

    words = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "only stopped early",
        TrialState.RUNNING: "not finished",
        TrialState.INTERRUPTED: "not finished",
    }
    rows, order = [], ranked(records)
    for name, wrapper in ((name, each) for name, several in offered.items() for each in several):
        trials = [each for each in records.trials.values() if each.active.get(name) == wrapper]
        complete = [each for each in order if each in trials]
        worth = gain(records, trial=complete[0]) if complete and wrapper != NONE else None
        states = {each.state for each in trials}
        state = next((word for state, word in words.items() if state in states), "failed")
        rows.append(
            {
                "layer": name.rpartition("/")[0],
                "wrapper": wrapper,
                "trials": len(trials),
                "complete": len(complete),
                "best": complete[0].score if complete else None,
                "gain": None if worth is None else worth.value,
                "state": state if trials else "never tried",
            }
        )
    types = {"layer": "string", "wrapper": "string", "trials": "Int64", "complete": "Int64"}
    types |= {"best": "Float64", "gain": "Float64", "state": "string"}

    def rank(row: Mapping[str, Any]) -> tuple[str, float, int]:
        cost = math.inf if row["best"] is None else records.cost(row["best"])
        return row["layer"], cost, -row["trials"]

    rows.sort(key=rank)
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def format_number(value: float) -> str:
    """Writes a score or a difference with four decimals; very large and tiny ones get an exponent."""
    if abs(value) >= 1e6:
        return f"{value:.4e}"
    return f"{value:.1e}" if 0 < abs(value) < 0.00005 else f"{value:.4f}"


def format_value(name: str, value: object) -> str:
    """Writes the value of a hyperparameter: numbers with four digits, learning rates with three."""
    digits = 3 if name.rpartition("/")[2] in ("learning_rate", "lr") else 4
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def format_gain(value: float) -> str:
    """Writes a gain as a number, or `no gain` for zero."""
    return format_number(value) if value else "no gain"


def never_tried(table: pd.DataFrame) -> str | None:
    """Names the wrappers in a table of `by_wrapper` that no trial had; `None` if each had one."""
    rows = table[table["trials"] == 0]
    pairs = zip(rows["layer"], rows["wrapper"], strict=True)
    names = ["/".join(filter(None, pair)) for pair in pairs]
    return f"Never tried: {', '.join(names)}. More trials would." if names else None
