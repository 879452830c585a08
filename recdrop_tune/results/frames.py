"""The results as pandas tables: trials, history of the epochs, and the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from recdrop_tune.hyperparameters import Space
from recdrop_tune.records import Records, TrialRecord
from recdrop_tune.standing import format_value, ordered
from recdrop_tune.states import TrialState

_LEADING = {"trial_id": "string", "number": "Int64", "state": "string"}
_CLOSING = {
    "best_epoch": "Int64",
    "epochs": "Int64",
    "seconds": "Float64",
    "n_params": "Int64",
    "mlflow_run_id": "string",
}

# Every model reports these, so hyperparameters cannot have the names even before a trial has ended.
_LOSSES = ("loss", "val_loss")


def hyperparameter_columns(records: Records) -> dict[str, str]:
    """Returns the column of each hyperparameter: its key, or `hp/key` if another column has that name."""
    objective = records.objective
    taken = {*_LEADING, *_CLOSING, *_LOSSES, objective, spread_column(objective)}
    for trial in records.trials.values():
        taken.update(trial.metrics, *(each.metrics for each in (*trial.epochs, *trial.repeats)))
    return {key: f"hp/{key}" if key in taken else key for key in _types(records.space)}


def spread_column(objective: str) -> str:
    """Names the column of the spread over a trial's trainings."""
    return f"{objective}_std"


def trials_frame(records: Records, run_ids: Mapping[str, str]) -> pd.DataFrame:
    """Makes `TuneResult.trials`, with MLflow's ids of the runs by trial, if known.

    A pruned trial has the values of its best epoch, so anything that ranks trials must look at the state.
    """
    objective, own = records.objective, hyperparameter_columns(records)
    rows = [
        {**_row(trial, objective, own), "mlflow_run_id": run_ids.get(trial.trial_id)}
        for trial in ordered(records)
    ]
    types = {own[key]: kind for key, kind in _types(records.space).items()}
    spread = spread_column(objective)
    goal = [objective, *([spread] if any(spread in row for row in rows) else [])]
    named = [*_LEADING, *types, *goal, *(name for row in rows for name in row)]
    columns = [*dict.fromkeys(name for name in named if name not in _CLOSING), *_CLOSING]
    # Metrics are all that is neither fixed nor a hyperparameter.
    kinds = {**dict.fromkeys(columns, "Float64"), **types, **_LEADING, **_CLOSING}
    return pd.DataFrame(rows, columns=columns).astype({name: kinds[name] for name in columns})


def _row(trial: TrialRecord, objective: str, own: Mapping[str, str]) -> dict[str, Any]:
    spread = trial.ended.std if trial.ended else None
    return {
        "trial_id": trial.trial_id,
        "number": trial.number,
        "state": trial.state,
        **{own[key]: value for key, value in trial.active.items() if key in own},
        **({} if spread is None else {spread_column(objective): spread}),
        **trial.metrics,
        # The last epoch of a failed trial is not a score.
        objective: trial.ended.score if trial.ended else None,
        "best_epoch": trial.best_epoch,
        "epochs": trial.total_epochs,
        "seconds": trial.seconds,
        "n_params": trial.parameters,
    }


def _types(space: Space) -> dict[str, str]:
    """Returns the pandas type of each hyperparameter by its key."""
    kinds = {"bool": "boolean", "int": "Int64", "float": "Float64", "str": "string"}
    firsts = {row.key: row.choices[0] if row.choices else row.low for row in space}
    types = {key: kinds[type(value).__name__] for key, value in firsts.items()}
    if any(row.key == "wrapper" and row.is_wrapper for row in space):
        # These are columns in every table, even if the space does not search them.
        types = {"wrapper": "string", "placement": "string", "rate": "Float64", **types}
    return types


_FIRST = {"trial_id": "string", "number": "Int64", "execution": "Int64", "epoch": "Int64"}
_LAST = {"seconds": "Float64"}


def history_frame(records: Records) -> pd.DataFrame:
    """Makes `TuneResult.history`: one row per epoch, in the order of trials, trainings and epochs."""
    trials = sorted(records.trials.values(), key=lambda record: record.number)
    rows = [
        {
            **event.metrics,
            "trial_id": event.trial_id,
            "number": record.number,
            "execution": event.execution,
            "epoch": event.epoch,
            "seconds": event.seconds,
        }
        for record in trials
        for event in sorted([*record.epochs, *record.repeats], key=lambda each: each.execution)
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    metrics = [name for name in names if name not in {**_FIRST, **_LAST}]
    types = {**_FIRST, **dict.fromkeys(metrics, "Float64"), **_LAST}
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def learned_rate_columns(frame: pd.DataFrame) -> list[str]:
    """Lists the columns of learned rates, such as `learned_rate.input` or `enc/learned_rate.input`."""
    names = [str(name) for name in frame.columns]
    return [name for name in names if name.rpartition("/")[2].startswith("learned_rate.")]


def format_cell(value: Any, name: str = "") -> str:
    """Writes one value of a frame, of the column `name`; see `format_value`."""
    return "-" if pd.isna(value) else format_value(name, value)


def pareto_front(trials: pd.DataFrame, directions: Mapping[str, str]) -> pd.DataFrame:
    """Returns the complete trials that no other one dominates; `directions` is `"min"` or `"max"` by column.

    Trials that lack a value are left out. The best in the first column comes first.
    """
    names, is_lower = list(directions), [direction == "min" for direction in directions.values()]
    valued = trials[trials["state"] == TrialState.COMPLETE].dropna(subset=names)
    valued = valued.sort_values(names[0], ascending=is_lower[0], kind="stable", ignore_index=True)
    costs = valued[names].to_numpy(dtype=float) * [1.0 if lower else -1.0 for lower in is_lower]
    # A point at a time: all pairs at once would take `points` squared of memory.
    beaten = (((costs <= point).all(1) & (costs < point).any(1)).any() for point in costs)
    return valued.loc[[not each for each in beaten]].reset_index(drop=True)
