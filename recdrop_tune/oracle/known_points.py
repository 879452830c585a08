"""Knowledge from before a search: configurations to try first, and trials of other searches."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial, create_trial

from recdrop_tune.errors import InvalidArgumentError, invalid_argument, suggestion
from recdrop_tune.files import JOURNAL, check_folder
from recdrop_tune.hyperparameters import Hyperparameter, Space, Values, active_rows, walk
from recdrop_tune.journal import Journal
from recdrop_tune.optuna_forms import to_optuna
from recdrop_tune.oracle.searching import Searching
from recdrop_tune.oracle.surrogate import WARM
from recdrop_tune.records import Records
from recdrop_tune.states import TrialState


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


def read_warm_trials(
    folders: Sequence[str], oracle: Searching, own: str | Path | None = None
) -> tuple[list[FrozenTrial], list[str]]:
    """Reads the complete trials of other searches that lie in the space of the oracle's search.

    Returns them for Optuna, without epochs for pruners, and a line for each folder that counts them. `own` is
    the project folder of the search; None: the oracle's.
    """
    warm: list[FrozenTrial] = []
    lines = []
    objective = f"{oracle.objective.name} ({oracle.objective.direction})"
    for folder in folders:
        check_folder(folder)
        records, used = Records(Journal(Path(folder, JOURNAL)).read(epochs=False)), 0
        there = f"{records.objective} ({records.direction})"
        if folder == os.path.realpath(own or oracle._project_dir):
            fix = "A search resumes with its own trials: leave it out."
            raise _refused(folder, "folders of other searches", fix)
        if records.search is None:
            raise _refused(folder, "the folder of an earlier search", f"It has no `{JOURNAL}`.")
        if there != objective:
            raise _refused(folder, f"searches for {objective}", f"The objective there is {there}.")
        complete = [each for each in records.trials.values() if each.state == TrialState.COMPLETE]
        for record in complete:
            point = _within(oracle.space, record.active)
            if point is not None and record.score is not None:
                params, ranges = to_optuna(oracle.space, point)
                attrs, value = {WARM: folder}, record.score
                warm.append(
                    create_trial(params=params, distributions=ranges, value=value, user_attrs=attrs)
                )
                used += 1
        outside = len(complete) - used
        where = f"; {outside} outside the search space" if outside else ""
        lines.append(f"Warm start: {used} of {len(complete)} complete trials of {folder}{where}.")
    if folders and not warm:
        expected = "folders with complete trials whose values lie in the space of this search"
        raise _refused(list(folders), expected, " ".join(lines))
    return warm, lines


def _within(space: Space, values: Values) -> Values | None:
    """Returns the configuration of a trial of another search; None if it lies outside of the space."""
    with suppress(InvalidArgumentError):
        completed = complete(space, values)
        return completed if completed.keys() == values.keys() else None
    return None


def _refused(folder: str | list[str], expected: str, fix: str) -> InvalidArgumentError:
    return invalid_argument("warm_start", expected=expected, received=folder, fix=fix)
