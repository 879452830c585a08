"""The results as pandas tables: trials, history of the epochs, and the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner as kt
import numpy as np
import numpy.typing as npt
import pandas as pd

from recdrop_tune.oracle import is_wrapper, metrics_at, reached, state_of
from recdrop_tune.records import Records, TrialRecord
from recdrop_tune.spaces import plain_names
from recdrop_tune.standing import setting
from recdrop_tune.states import TrialState
from recdrop_tune.tuner import readable

_RANKS = {TrialState.COMPLETE: 0, TrialState.PRUNED: 1}
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


def hyperparameter_columns(oracle: Any) -> dict[str, str]:
    """Returns the column of each hyperparameter: its name, or `hp/name` if another column has it."""
    metrics = [name for trial in oracle.trials.values() for name in trial.metrics.metrics]
    goal = oracle.objective.name
    taken = {*_LEADING, *_CLOSING, *_LOSSES, goal, spread_column(goal), *metrics}
    names = _types(oracle.hyperparameters.space)
    return {name: f"hp/{name}" if name in taken else name for name in names}


def spread_column(objective: str) -> str:
    """Names the column of the spread over a trial's trainings."""
    return f"{objective}_std"


def offered_wrappers(oracle: Any) -> dict[str, list[str]]:
    """Returns the wrappers that the space offers, by the name of their hyperparameter; see `is_wrapper`."""
    space = oracle.hyperparameters.space
    others = {hp.name for hp in space if not is_wrapper(hp)}
    offered: dict[str, dict[str, None]] = {}
    for hp in space:
        if hp.name not in others:
            offered.setdefault(hp.name, {}).update(dict.fromkeys(map(str, hp.values)))
    return {name: list(several) for name, several in offered.items()}


def trials_frame(oracle: Any, records: Records, run_ids: Mapping[str, str]) -> pd.DataFrame:
    """Makes `TuneResult.trials`: the oracle's values joined with the journal's.

    A pruned trial has the values of its best epoch, so anything that ranks trials must look at the state.
    """
    objective, space = oracle.objective, oracle.hyperparameters.space
    own, trials = hyperparameter_columns(oracle), map(oracle.get_trial, oracle.start_order)
    rows = [
        {
            "number": number,
            **_row(trial, records.trials.get(trial.trial_id), objective, own),
            "mlflow_run_id": run_ids.get(trial.trial_id),
        }
        for number, trial in enumerate(trials)
    ]
    types = {own[name]: kind for name, kind in _types(space).items()}
    spread = spread_column(objective.name)
    goal = [objective.name, *([spread] if any(spread in row for row in rows) else [])]
    named = [*_LEADING, *types, *goal, *(name for row in rows for name in row)]
    columns = [*dict.fromkeys(name for name in named if name not in _CLOSING), *_CLOSING]
    # Metrics are all that is neither fixed nor a hyperparameter.
    kinds = {**dict.fromkeys(columns, "Float64"), **types, **_LEADING, **_CLOSING}
    frame = pd.DataFrame(rows, columns=columns).astype({name: kinds[name] for name in columns})
    sign = 1.0 if objective.direction == "min" else -1.0
    costs = sign * frame[objective.name].to_numpy(dtype=float, na_value=np.nan)
    ranks = frame["state"].map(_RANKS).fillna(len(_RANKS)).to_numpy()
    return frame.iloc[np.lexsort((costs, ranks))].reset_index(drop=True)


def _row(
    trial: Any, record: TrialRecord | None, objective: Any, own: dict[str, str]
) -> dict[str, Any]:
    """Returns what oracle and journal have of a trial. The metrics are those of its best epoch."""
    best = reached(trial, objective)
    spread = {} if best.std is None else {spread_column(objective.name): best.std}
    row = {
        "trial_id": trial.trial_id,
        "state": state_of(trial),
        **{own.get(name, name): value for name, value in readable(trial.hyperparameters).items()},
        **spread,
        **(best.metrics or metrics_at(trial, None)),
        objective.name: best.value,
    }
    if record is None:  # The journal lacks the start of the trial.
        return row
    best_epoch = record.best_epoch
    if best_epoch is None and record.state == TrialState.PRUNED:
        best_epoch = best.step  # It was pruned without a number.
    # Keras Tuner counts it as running, and so runs it again.
    waits = record.state == TrialState.INTERRUPTED and row["state"] == TrialState.RUNNING
    return {
        **row,
        **({"state": TrialState.INTERRUPTED} if waits else {}),
        "best_epoch": best_epoch,
        "epochs": record.total_epochs,
        "seconds": record.seconds,
        "n_params": record.parameters,
    }


def _types(space: list[Any]) -> dict[str, str]:
    """Returns the pandas type of each hyperparameter, active or not."""
    types = {"bool": "boolean", "int": "Int64", "float": "Float64", "str": "string"}
    kinds: dict[str, str] = {}
    for hp in space:
        (name,) = plain_names({hp.name: None})
        kinds[name] = types[type(next(iter(hp.values))).__name__]
        if isinstance(hp, kt.engine.hyperparameters.Int):
            kinds[name] = "Int64"
    if any(hp.name == "wrapper" and is_wrapper(hp) for hp in space):
        kinds = {"wrapper": "string", "placement": "string", "rate": "Float64", **kinds}
    return kinds


_FIRST = {"trial_id": "string", "number": "Int64", "execution": "Int64", "epoch": "Int64"}
_LAST = {"seconds": "Float64"}


def history_frame(records: Records) -> pd.DataFrame:
    """Makes `TuneResult.history`: one row an epoch, in the order of trials, trainings and epochs."""
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


def shown(value: Any, name: str = "") -> str:
    """Writes one value of a frame, of the column `name`; see `setting`."""
    return "-" if pd.isna(value) else setting(name, value)


def pareto_front(trials: pd.DataFrame, objectives: Sequence[kt.Objective]) -> pd.DataFrame:
    """Returns the complete trials that no other complete trial dominates.

    A trial dominates another if it is as good in every objective and better in one. Trials that lack an
    objective are left out. The best in the first objective comes first.
    """
    names = [objective.name for objective in objectives]
    signs = [1.0 if objective.direction == "min" else -1.0 for objective in objectives]
    valued = trials[(trials["state"] == TrialState.COMPLETE) & trials[names].notna().all(axis=1)]
    front = valued[non_dominated(valued[names].to_numpy(dtype=float) * signs)]
    ascending = objectives[0].direction == "min"
    return front.sort_values(names[0], ascending=ascending, kind="stable").reset_index(drop=True)


def non_dominated(costs: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Returns which points, of shape `(points, objectives)`, no other point dominates; smaller is better."""
    # A point at a time: all pairs at once would take `points` squared of memory.
    dominated = [
        ((costs <= point).all(axis=1) & (costs < point).any(axis=1)).any() for point in costs
    ]
    return ~np.array(dominated, dtype=bool)
