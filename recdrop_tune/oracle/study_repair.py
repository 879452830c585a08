"""Brings an Optuna study into line with the trials of a search, from which all of it follows.

The journal of the study is Optuna's, a line an operation: with one line damaged, all that come after it may
be about other trials. So a journal that cannot be read, or says something else than the trials do, is put
aside and written anew. In a storage of the user's own, trials that it lacks are added and nothing else is
changed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from recdrop_tune.oracle._ask_tell import outcome
from recdrop_tune.oracle._conditional import is_active, is_fixed
from recdrop_tune.oracle._distributions import distribution, to_drawn
from recdrop_tune.oracle._scores import curve, objectives, reached
from recdrop_tune.oracle.rebuilt import ENDED

_ID = "keras_tuner_id"


def is_damaged(path: Path) -> bool:
    """Says whether a line of Optuna's journal is none."""
    for line in path.read_bytes().splitlines():
        try:
            if not isinstance(json.loads(line), dict):
                return True
        except (ValueError, RecursionError):
            return True
    return False


def correct_numbers(study: optuna.Study, oracle: Any, numbers: dict[str, int]) -> None:
    """Forgets the numbers that are another trial's in a study, and looks the right ones up.

    Args:
        study: The study.
        oracle: The oracle, with all trials.
        numbers: Optuna's number of each; is changed.
    """
    known = study.get_trials(deepcopy=False)
    by_id = {frozen.user_attrs.get(_ID): frozen.number for frozen in known}
    for id in oracle.trials:
        if not _is_of(known, numbers.get(id), id):
            numbers.pop(id, None)
            if id in by_id:
                numbers[id] = by_id[id]


def contradicts(study: optuna.Study, oracle: Any, numbers: Mapping[str, int]) -> bool:
    """Says whether a study has other values for a complete trial than the oracle.

    Args:
        study: The study.
        oracle: The oracle, with all trials.
        numbers: Optuna's number of each, the right ones.
    """
    known = study.get_trials(deepcopy=False)
    for id, number in numbers.items():
        told, trial = known[number], oracle.trials.get(id)
        if trial is None or trial.status != "COMPLETED" or told.state != TrialState.COMPLETE:
            continue  # One that is under way in the study is ended later, as the oracle says.
        values = outcome(trial, oracle.objective)["values"]
        if not all(map(_is_close, values, told.values)):
            return True
    return False


def add_missing(study: optuna.Study, oracle: Any, numbers: dict[str, int]) -> None:
    """Adds the finished trials that a study lacks.

    Args:
        study: The study.
        oracle: The oracle, with all trials.
        numbers: Optuna's number of each, the right ones; those of the trials that are added come to them.
    """
    for id, trial in oracle.trials.items():
        # Of a trial whose file was lost, nothing is known.
        if id not in numbers and trial.status in ENDED and trial.hyperparameters.values:
            study.add_trial(_frozen(trial, oracle))
            numbers[id] = len(study.get_trials(deepcopy=False)) - 1


def _is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9)


def _is_of(known: list[FrozenTrial], number: int | None, trial_id: str) -> bool:
    if not isinstance(number, int) or not 0 <= number < len(known):
        return False
    return bool(known[number].user_attrs.get(_ID) == trial_id)


def _frozen(trial: Any, oracle: Any) -> FrozenTrial:
    """Makes the trial of Optuna's that stands for one of Keras Tuner's."""
    values, goals = trial.hyperparameters.values, objectives(oracle.objective)
    asked = {
        hp.name: hp
        for hp in oracle.hyperparameters.space
        if not is_fixed(hp) and hp.name in values and is_active(hp, values)
    }
    epochs = dict(curve(trial, goals[0].name)) if len(goals) == 1 else {}
    ending = outcome(trial, oracle.objective)
    best = reached(trial, oracle.objective).value if trial.status == "STOPPED" else None
    if best is not None and epochs:  # What Optuna itself makes of a trial that is pruned.
        ending["value"] = epochs[max(epochs)]
    return optuna.trial.create_trial(
        state=ending.pop("state", TrialState.COMPLETE),
        params={name: to_drawn(hp, values[name]) for name, hp in asked.items()},
        distributions={name: distribution(hp) for name, hp in asked.items()},
        intermediate_values=epochs,
        user_attrs={_ID: trial.trial_id} | ({} if best is None else {"best_value": best}),
        **ending,
    )
