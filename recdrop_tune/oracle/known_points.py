"""Knowledge from before a search: configurations to try first, and trials of other searches."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from keras_tuner.engine.trial import TrialStatus
from optuna.trial import FrozenTrial, create_trial

from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.files import check_folder, check_trial_ids
from recdrop_tune.hyperparameters import Hyperparameter, Space, Values, active_rows, walk
from recdrop_tune.optuna_forms import to_optuna
from recdrop_tune.oracle.scores import metrics_at
from recdrop_tune.oracle.surrogate import WARM
from recdrop_tune.oracle.translation import configuration
from recdrop_tune.oracle.trial_files import read_trials
from recdrop_tune.problems import suggestion


def as_point(values: Mapping[str, Any]) -> Values:
    """Returns a configuration, such as a row of a table, as plain Python numbers, without missing values.

    Tables have None, NaN and pandas's `NA` where a hyperparameter is inactive.
    """
    given = {n: v.item() if isinstance(v, np.generic) else v for n, v in values.items()}
    return {
        name: value
        for name, value in given.items()
        if not (value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)))
    }


def complete(space: Space, point: Mapping[str, Any]) -> Values:
    """Returns the configuration of a point, with the middle value of each hyperparameter that it leaves out.

    The point has values by key (`placement`) or by Keras Tuner's name (`placement.lambda`). One that does not
    fit the space raises `InvalidArgumentError`.
    """
    given = as_point(point)

    def choose(row: Hyperparameter) -> Any:
        name = row.name if row.name in given else row.key
        if name not in given:
            return row.middle
        if not row.contains(given[name]):
            raise invalid_argument(
                "try_first",
                expected=f"`{row.key}` to be {row.describe()}",
                received=dict(point),
                fix=suggestion(given[name], [v for v in row.choices or () if isinstance(v, str)]),
            )
        return row.exact(given[name])

    values = walk(space, choose)
    used = {name for row in active_rows(space, values) for name in (row.name, row.key)}
    for name in (name for name in given if name not in used):
        known = list(dict.fromkeys(row.key for row in space))
        inactive = any(name in (row.name, row.key) for row in space)
        raise invalid_argument(
            "try_first",
            expected=f"values of the hyperparameters {', '.join(known)}",
            received=dict(point),
            fix=f"`{name}` is inactive with the other values: leave it out, or change them."
            if inactive
            else f"`{name}` is not among them. {suggestion(name, known)}".strip(),
        )
    return values


def _within(space: Space, trial: Any) -> Values | None:
    """Returns the configuration of a trial of another search; None if it lies outside of the space.

    Its hyperparameters can have other names, as the groups of wrappers can differ, but not other keys.
    """
    given = configuration(trial.hyperparameters)
    try:
        values = complete(space, given)
    except InvalidArgumentError:
        return None
    return values if values.keys() == given.keys() else None


def read_warm_trials(
    folders: Sequence[str], oracle: Any, own: str | Path | None = None
) -> tuple[list[FrozenTrial], list[str]]:
    """Reads the complete trials of other searches that lie in the space of the oracle's search.

    Returns them for Optuna, without epochs for pruners, and a line for each folder that counts them. `own` is
    the project folder of the search; None: the oracle's.
    """
    warm: list[FrozenTrial] = []
    lines = []
    for folder in folders:
        if folder == os.path.realpath(own or oracle._project_dir):
            fix = "A search resumes with its own trials: leave it out."
            raise _refused(folder, "folders of other searches", fix)
        if not any(Path(folder).glob("trial_*/trial.json")):
            there = "search" if Path(folder).is_dir() else "folder"
            expected = "the project folder of an earlier search"
            raise _refused(folder, expected, f"There is no {there} there.")
        complete, used = _complete(folder), 0
        _check_objective(folder, complete, oracle.objective)
        for trial in complete:
            values = _within(oracle.space, trial)
            if values is not None and math.isfinite(trial.score):
                params, distributions = to_optuna(oracle.space, values)
                source = {"folder": folder, "trial_id": trial.trial_id}
                warm.append(
                    create_trial(
                        params=params,
                        distributions=distributions,
                        value=float(trial.score),
                        user_attrs={WARM: source},
                    )
                )
                used += 1
        outside = len(complete) - used
        where = f"; {outside} outside the search space" if outside else ""
        lines.append(f"Warm start: {used} of {len(complete)} complete trials of {folder}{where}.")
    if folders and not warm:
        expected = "folders with complete trials whose values lie in the space of this search"
        raise _refused(list(folders), expected, " ".join(lines))
    return warm, lines


def _refused(folder: str | list[str], expected: str, fix: str) -> InvalidArgumentError:
    return invalid_argument("warm_start", expected=expected, received=folder, fix=fix)


def _complete(folder: str | Path) -> list[Any]:
    """Reads the complete trials of a folder, in the order in which they began."""
    check_folder(folder)
    trials = read_trials(Path(folder))
    check_trial_ids(folder, trials)
    # Ids have as many digits as `max_trials` had, which can grow.
    order = sorted(trials, key=lambda id: (len(id.lstrip("0")), id.lstrip("0")))
    complete = [trials[id] for id in order if trials[id].status == TrialStatus.COMPLETED]
    # Keras Tuner's Hyperband trains most trials for a part of the epochs: their scores do not compare.
    epochs = [trial.hyperparameters.values.get("tuner/epochs", 0) for trial in complete]
    return [t for t, n in zip(complete, epochs, strict=True) if n == max(epochs)]


def _check_objective(folder: str, trials: Sequence[Any], objective: Any) -> None:
    name, direction = objective.name, objective.direction
    for trial in trials:
        metrics = trial.metrics.metrics
        wrong = ""
        if name not in metrics:
            wrong = f"Its trials report {', '.join(sorted(metrics))}."
        elif metrics[name].direction != direction:
            wrong = f"Its direction there is {metrics[name].direction}."
        elif not math.isclose(trial.score, metrics_at(trial, trial.best_step)[name]):
            wrong = "Its trials were scored by something else."
        if wrong:
            expected = f"folders of searches with the objective {name} ({direction})"
            raise _refused(folder, expected, wrong)
