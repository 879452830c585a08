"""What the confirmation found: the same seeds for every configuration, so that gains are paired."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from recdrop_tune.errors import ProjectError, shown
from recdrop_tune.oracle import first_value, objectives, trial_folder
from recdrop_tune.tracking import FILE, Tracking, has_wrapper, readable
from recdrop_tune.tuner import load_weights

CONFIRMED = "confirmed"
"""The folder, in the project's, of the weights of confirmed configurations."""

CONFIDENCE = 0.95
NUMBERS = ("search", "n", "mean", "std", "gain", "gain_low", "gain_high")


@dataclass(frozen=True)
class Confirmation:
    """The best configurations and the baselines, each trained again with the same fresh seeds.

    Of the configurations that were confirmed the best is still the best of several: its mean is a little
    better than it would be with yet other seeds.

    Attributes:
        runs: One row for each training; see `confirmation_frame`.
        table: One row for each configuration, the best first; see `confirmed_frame`.
        verdict: What it showed, in a sentence or two.
        best_id: Id of the best configuration's trial.
    """

    runs: pd.DataFrame
    table: pd.DataFrame
    verdict: str
    best_id: str

    def best_model(self, tuner: Any) -> Any:
        """Builds the best configuration's model, with the weights of its best confirmed training.

        Args:
            tuner: The tuner of the search.
        """
        folder = trial_folder(Path(tuner.project_dir) / CONFIRMED, self.best_id, FILE)
        model = tuner.hypermodel.build(tuner.oracle.trials[self.best_id].hyperparameters)
        return load_weights(folder, model)

    def text(self) -> str:
        """Writes the table for a terminal: what varies, and the numbers."""
        known = [name for name in self.table if str(name) not in NUMBERS]
        varying = [name for name in known if self.table[name].nunique(dropna=False) > 1]
        shown = self.table[["number", *(n for n in varying if n != "number"), *NUMBERS]]
        tests = [name for name in self.table if str(name).startswith("test_")]
        shown = pd.concat([shown, self.table[tests]], axis=1)
        shown = shown.loc[:, ~shown.columns.duplicated()].drop(columns="trial_id", errors="ignore")
        return str(shown.astype(object).map(_shown).to_string(index=False))


def confirmation_of(oracle: Any, tracking: Tracking) -> Confirmation | None:
    """Gathers the confirmation of a search; `None` if no training of it succeeded."""
    runs, table = confirmation_frame(oracle, tracking), confirmed_frame(oracle, tracking)
    if table.empty:
        return None
    objective = objectives(oracle.objective)[0].name
    said = verdict(table, without_dropout(oracle, runs), objective)
    return Confirmation(runs, table, said, str(table["trial_id"].iloc[0]))


def confirmation_frame(oracle: Any, tracking: Tracking) -> pd.DataFrame:
    """Returns one row for each training of the confirmation.

    Columns: `trial_id`, `number`, `repeat`, `seed`, `best_epoch`, `seconds`, the objective, the other
    metrics at the best epoch, those of the test data under `test_...`, `message` of a training that failed.

    Args:
        oracle: The oracle of the search.
        tracking: Its tracking.

    Raises:
        ProjectError: The journal tells of a trial that there is not.
    """
    name = objectives(oracle.objective)[0].name
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for each in tracking.records.confirmations:
        if each.trial_id not in oracle.trials or each.trial_id not in oracle.start_order:
            raise ProjectError(
                f"`{tracking.journal_path}` tells of a confirmation of the trial {shown(each.trial_id)}, "
                "which the search does not have: somebody has changed the file."
            )
        # A training that failed and was made up for is not wanted any more.
        rows[each.trial_id, each.repeat] = {
            "trial_id": each.trial_id,
            "number": oracle.start_order.index(each.trial_id),
            "repeat": each.repeat,
            "seed": each.seed,
            "best_epoch": each.best_epoch,
            "seconds": each.seconds,
            name: each.score,
            **each.metrics,
            "message": each.message,
        }
    known = ["trial_id", "number", "repeat", "seed", "best_epoch", "seconds", name, "message"]
    extra = [key for row in rows.values() for key in row if key not in known]
    columns = [*known[:-1], *dict.fromkeys(extra), "message"]
    frame = pd.DataFrame(list(rows.values()), columns=columns)
    text, whole = ("trial_id", "message"), ("number", "repeat", "seed", "best_epoch")
    types = {
        key: "string" if key in text else "Int64" if key in whole else "Float64" for key in columns
    }
    return frame.astype(types).sort_values(["repeat", "number"]).reset_index(drop=True)


def confirmed_frame(oracle: Any, tracking: Tracking) -> pd.DataFrame:
    """Returns one row for each configuration that was confirmed, the best mean first.

    Columns: `trial_id`, `number`, the active hyperparameters that differ, `search` (the score in the search),
    `n` (trainings), `mean` and `std` of the objective, `gain` (mean of the paired gains over no dropout;
    positive is better), `gain_low` and `gain_high` (95 % confidence interval of that mean, Student's t),
    and the mean of each test metric.

    Args:
        oracle: The oracle of the search.
        tracking: Its tracking.
    """
    runs = confirmation_frame(oracle, tracking)
    objective = objectives(oracle.objective)[0]
    sign = 1.0 if objective.direction == "max" else -1.0
    baseline = _baseline(oracle, runs)
    rows = [
        {
            **_about(oracle, trial_id),
            **_spread(group[objective.name]),
            **_gain(sign, group, baseline, objective.name),
            **{key: float(group[key].mean()) for key in group if str(key).startswith("test_")},
        }
        for trial_id, group in runs.dropna(subset=[objective.name]).groupby("trial_id")
    ]
    known = ["trial_id", "number", "search", "n", "mean", "std", "gain", "gain_low", "gain_high"]
    columns = list(dict.fromkeys([*known, *(key for row in rows for key in row)]))
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values("mean", ascending=sign < 0, kind="stable").reset_index(drop=True)


def verdict(confirmed: pd.DataFrame, without: str | None, objective: str) -> str:
    """Says in a sentence or two what the confirmation showed.

    Args:
        confirmed: As `confirmed_frame` returns it.
        without: Id of the confirmed trial without dropout; `None` if there is none.
        objective: Name of the objective.
    """
    best = confirmed.iloc[0]
    count = best["n"]
    runs = "one training with a fresh seed" if count == 1 else f"{count} trainings with fresh seeds"
    spread = "" if math.isnan(best["std"]) else f" +- {best['std']:.4f}"
    score = f"{objective} {best['mean']:.4f}{spread}"
    if without is None:
        return (
            f"Confirmed: {score} ({runs}). Whether dropout helped is not known: no trial without dropout "
            "was confirmed."
        )
    if best["trial_id"] == without:
        return f"Dropout did not help: the best confirmed configuration has none ({score}, {runs})."
    gain = f"{best['gain']:.4f}, 95 % interval {best['gain_low']:.4f} to {best['gain_high']:.4f}"
    if math.isnan(best["gain_low"]):
        return f"Gain over no dropout: {best['gain']:.4f} in one paired training, which proves nothing."
    if best["gain_low"] > 0:
        return f"Dropout helped: paired gain over no dropout {gain} ({runs})."
    return (
        f"No gain over no dropout is confirmed: {gain} ({runs}). The interval holds 0: more "
        "`confirm_seeds` would narrow it."
    )


def without_dropout(oracle: Any, runs: pd.DataFrame) -> str | None:
    """Returns the id of the best confirmed trial without dropout; `None` if there is none."""
    for trial in oracle.get_best_trials(len(oracle.trials)):
        plain = has_wrapper(readable(trial.hyperparameters), "none")
        if plain and trial.trial_id in set(runs["trial_id"]):
            return str(trial.trial_id)
    return None


def _baseline(oracle: Any, runs: pd.DataFrame) -> pd.DataFrame | None:
    id = without_dropout(oracle, runs)
    return None if id is None else runs[runs["trial_id"] == id].set_index("repeat")


def _about(oracle: Any, trial_id: Any) -> dict[str, Any]:
    trial = oracle.trials[trial_id]
    values = readable(trial.hyperparameters)
    active = {name: value for name, value in values.items() if value is not None}
    number = oracle.start_order.index(trial_id)
    return {
        "trial_id": trial_id,
        "number": number,
        **active,
        "search": first_value(trial, oracle.objective),
    }


def _spread(values: pd.Series) -> dict[str, Any]:
    numbers = values.to_numpy(dtype=float)
    spread = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else math.nan
    return {"n": len(numbers), "mean": float(np.mean(numbers)), "std": spread}


def _gain(
    sign: float, group: pd.DataFrame, baseline: pd.DataFrame | None, name: str
) -> dict[str, float]:
    """The paired gain: trainings with the same seed are compared with each other."""
    if baseline is None:
        return dict.fromkeys(("gain", "gain_low", "gain_high"), math.nan)
    own = group.set_index("repeat")[name]
    gains = (sign * (own - baseline[name])).dropna().to_numpy(dtype=float)
    if not len(gains):
        return dict.fromkeys(("gain", "gain_low", "gain_high"), math.nan)
    mean = float(np.mean(gains))
    half = math.nan
    if len(gains) > 1:
        quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(gains) - 1))
        half = quantile * float(np.std(gains, ddof=1)) / math.sqrt(len(gains))
    return {"gain": mean, "gain_low": mean - half, "gain_high": mean + half}


def _shown(value: Any) -> str:
    if pd.isna(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
