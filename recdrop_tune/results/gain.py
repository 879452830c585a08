"""What dropout was worth in a search, before any confirmation: by its best trial, and by each wrapper."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from recdrop_tune.results.tune_result import TuneResult


@dataclass(frozen=True)
class Gain:
    """The best trial against the best one with another value of `wrapper`, at whatever settings they have.

    It tells what the search is worth, and not what dropout is: the two may differ in their learning rate too.

    Attributes:
        baseline: The `wrapper` compared with.
        baseline_score: Its best score.
        best_score: The best score of all.
        gain: By how much the best is better, in units of the objective; never negative.
    """

    baseline: str
    baseline_score: float
    best_score: float
    gain: float


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


def gain_over(
    trials: pd.DataFrame, wrapper_columns: list[str], objective: str, wrapper: str
) -> Gain | None:
    """Compares the best trial with the best one that has a given wrapper in all its layers.

    Args:
        trials: The trials, best first.
        wrapper_columns: The columns that hold wrappers.
        objective: The column of the objective.
        wrapper: A value of those columns.
    """
    scores = trials[trials["state"] == "COMPLETE"]
    wrappers = scores[wrapper_columns]
    same = wrappers == wrapper
    # A layer that a trial does not have has no other dropout either.
    baseline = scores[same.any(axis=1) & (same | wrappers.isna()).all(axis=1)]
    if baseline.empty:
        return None
    best, base = float(scores[objective].iloc[0]), float(baseline[objective].iloc[0])
    return Gain(wrapper, base, best, abs(base - best))


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


def shown_wrappers(wrappers: pd.DataFrame) -> pd.DataFrame:
    """Writes the gains in words, and leaves the layer out where there is one set of wrappers for all.

    Args:
        wrappers: As `wrapper_frame` returns them.
    """
    gains = [None if pd.isna(gain) else gained(gain) for gain in wrappers["gain"]]
    shown = wrappers.assign(gain=pd.array(gains, dtype="string"))
    return shown if (wrappers["layer"] != "").any() else shown.drop(columns="layer")


def coverage_text(wrappers: pd.DataFrame) -> str | None:
    """Names the wrappers that no trial had; `None` where each had one.

    Args:
        wrappers: As `wrapper_frame` returns them.
    """
    rows = wrappers[wrappers["trials"] == 0]
    pairs = zip(rows["layer"], rows["wrapper"], strict=True)
    missed = [f"{layer}/{wrapper}" if layer else str(wrapper) for layer, wrapper in pairs]
    return f"Never tried: {', '.join(missed)}. More trials would." if missed else None


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


def spread_words(result: TuneResult, trial_id: str | None = None) -> str:
    """Says how far the trainings of a trial (by default the best one) are apart, to stand behind its score.

    The number is the sample standard deviation of the objective at the trial's best epoch. A mean over so
    few trainings is itself uncertain: differences between trials that are smaller say little.

    Returns:
        Words such as `" ± 0.0200 over 5 folds"`; nothing where there is one training.
    """
    oracle = result.search.oracle
    trial = result.best_trial if trial_id is None else oracle.trials[trial_id]
    found = reached(trial, oracle.objective)
    if found.std is None:
        return ""
    return f" ± {amount(found.std)} over {found.trainings} {result.search.trainings}"


def weights_words(result: TuneResult) -> str:
    """Says which of several trainings the weights of the best model are from; nothing where there is one."""
    if result.confirmation is not None:  # Its weights are those of a confirmed training.
        return ""
    if reached(result.best_trial, result.search.oracle.objective).trainings < 2:
        return ""
    kind = result.search.trainings[:-1]
    part = ", so it was not trained on all data" if kind == "fold" else ""
    return f"The best model has the weights of its best {kind}{part}."
