"""The trials of a search as a data frame: the oracle's values joined with what tracking recorded."""

from __future__ import annotations

from typing import Any

import keras_tuner as kt
import pandas as pd

from recdrop_tune.oracle import metrics_at, objectives, reached
from recdrop_tune.spaces import plain_names
from recdrop_tune.tracking import Tracking
from recdrop_tune.tracking._records import readable

_STATES = {"COMPLETED": "COMPLETE", "STOPPED": "PRUNED", "INVALID": "RETRY"}
_RANKS = {"COMPLETE": 0, "PRUNED": 1}
_LEADING = {"trial_id": "string", "number": "Int64", "state": "string"}
_CLOSING = {
    "best_epoch": "Int64",
    "epochs": "Int64",
    "seconds": "Float64",
    "n_params": "Int64",
    "mlflow_run_id": "string",
}


# Reported by every model, and so not left to hyperparameters even before the first trial has ended.
_LOSSES = ("loss", "val_loss")


def hyperparameter_columns(oracle: Any) -> dict[str, str]:
    """Names the column of each hyperparameter: `hp/name` where `name` is a column of another kind.

    Args:
        oracle: The oracle of the search.

    Returns:
        The columns by the names of the hyperparameters, as tables show them.
    """
    metrics = [name for trial in oracle.trials.values() for name in trial.metrics.metrics]
    goals = [objective.name for objective in objectives(oracle.objective)]
    taken = {*_LEADING, *_CLOSING, *_LOSSES, *goals, spread_column(goals[0]), *metrics}
    names = _types(oracle.hyperparameters.space)
    return {name: f"hp/{name}" if name in taken else name for name in names}


def spread_column(objective: str) -> str:
    """Names the column of the spread over a trial's trainings."""
    return f"{objective}_std"


def wrapper_columns(oracle: Any) -> list[str]:
    """Lists the columns of `wrapper`, one for each layer that has a dropout of its own."""
    columns = hyperparameter_columns(oracle)
    return [column for name, column in columns.items() if name.split("/")[-1] == "wrapper"]


def trials_frame(oracle: Any, tracking: Tracking) -> pd.DataFrame:
    """Returns one row a trial: the complete ones best first, then the pruned ones best first, then the rest.

    A pruned trial has the values of its best epoch until then. Whatever ranks trials looks at the state.

    Args:
        oracle: The oracle of the search.
        tracking: Its tracking.
    """
    objective, space = objectives(oracle.objective)[0], oracle.hyperparameters.space
    own, trials = hyperparameter_columns(oracle), map(oracle.get_trial, oracle.start_order)
    rows = [
        {
            "number": number,
            **_outcome(trial, oracle.objective, own),
            **_record(trial, tracking, oracle.objective),
        }
        for number, trial in enumerate(trials)
    ]
    types = {own[name]: kind for name, kind in _types(space).items()}
    spread = spread_column(objective.name)
    goal = [objective.name, *([spread] if any(spread in row for row in rows) else [])]
    named = [*_LEADING, *types, *goal, *(name for row in rows for name in row)]
    columns = [*dict.fromkeys(name for name in named if name not in _CLOSING), *_CLOSING]
    frame = _typed(pd.DataFrame(rows, columns=columns), types)
    frame = frame.sort_values(
        objective.name, ascending=objective.direction == "min", na_position="last", kind="stable"
    )
    ranks = frame["state"].map(_RANKS).fillna(len(_RANKS))
    return frame.loc[ranks.sort_values(kind="stable").index].reset_index(drop=True)


def _outcome(trial: Any, objective: Any, own: dict[str, str]) -> dict[str, Any]:
    """What the oracle knows: the metrics are those of the trial's best epoch."""
    best, goals = reached(trial, objective), objectives(objective)
    metrics = best.metrics or metrics_at(trial, None)
    if len(goals) > 1:
        metrics.pop(objective.name, None)  # Keras Tuner's sum of them all.
    spread = {} if best.std is None else {spread_column(goals[0].name): best.std}
    return {
        "trial_id": trial.trial_id,
        "state": _STATES.get(trial.status, trial.status),
        **{own.get(name, name): value for name, value in readable(trial.hyperparameters).items()},
        **spread,
        **metrics,
        goals[0].name: best.value,
    }


def _record(trial: Any, tracking: Tracking, objective: Any) -> dict[str, Any]:
    """What tracking knows; nothing of a trial that ran without it."""
    record = tracking.records.trials.get(trial.trial_id)
    best_epoch = record.best_epoch if record else None
    if record and best_epoch is None and record.state == "PRUNED":
        best_epoch = reached(trial, objective).step  # Older journals do not say it.
    return {
        "best_epoch": best_epoch,
        "epochs": len(record.epochs) if record else None,
        "seconds": record.seconds if record else None,
        "n_params": record.parameters if record else None,
        "mlflow_run_id": tracking.mlflow.run_ids.get(trial.trial_id),
    }


def _types(space: list[Any]) -> dict[str, str]:
    """Names the pandas type of each hyperparameter, which must not hang on what was active."""
    types = {"bool": "boolean", "int": "Int64", "float": "Float64", "str": "string"}
    kinds: dict[str, str] = {}
    for hp in space:
        (name,) = plain_names({hp.name: None})
        kinds[name] = types[type(next(iter(hp.values))).__name__]
        if isinstance(hp, kt.engine.hyperparameters.Int):
            kinds[name] = "Int64"
    if "wrapper" in kinds:
        kinds = {"wrapper": "string", "placement": "string", "rate": "Float64", **kinds}
    return kinds


def _typed(frame: pd.DataFrame, hyperparameters: dict[str, str]) -> pd.DataFrame:
    """Gives every column its type; what is neither bookkeeping nor a hyperparameter is a metric."""
    types = {**dict.fromkeys(frame.columns, "Float64"), **hyperparameters, **_LEADING, **_CLOSING}
    return frame.astype({name: types[name] for name in frame.columns})
