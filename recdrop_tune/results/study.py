"""A search as an Optuna study, whichever tuner proposed its trials.

The study that proposes trials is the oracle's own, and is not this one.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from recdrop_tune import states
from recdrop_tune.optuna_forms import quiet_optuna, to_optuna
from recdrop_tune.records import Records, TrialRecord

ID = "keras_tuner_id"
"""User attribute of Optuna's trials: Keras Tuner's id."""


def study_of(records: Records, name: str = "search") -> optuna.Study:
    """Makes a study in memory from the trials of a search, in the order in which they began."""
    direction = StudyDirection.MAXIMIZE if records.direction == "max" else StudyDirection.MINIMIZE
    trials = sorted(records.trials.values(), key=lambda trial: trial.number)
    with quiet_optuna():
        study = optuna.create_study(study_name=name, direction=direction)
        study.add_trials(_frozen(records, trial) for trial in trials)
    return study


def _frozen(records: Records, trial: TrialRecord) -> FrozenTrial:
    params, distributions = to_optuna(records.space, trial.active)
    curve = trial.curve(records.objective)
    made = optuna.trial.create_trial(
        params=params,
        distributions=distributions,
        intermediate_values=curve,
        user_attrs={ID: trial.trial_id},
        **_outcome(trial, curve),
    )
    made.datetime_start = datetime.fromtimestamp(trial.started)
    if made.state.is_finished() and trial.ended_at is not None:
        made.datetime_complete = datetime.fromtimestamp(trial.ended_at)
    return made


def _outcome(trial: TrialRecord, curve: dict[int, float]) -> dict[str, Any]:
    """Returns the state of a trial in Optuna's terms, and its value if it has one."""
    match trial.state:
        case states.TrialState.COMPLETE:
            score = trial.ended.score if trial.ended else None
            if score is not None and not math.isnan(score):  # Optuna takes no NaN.
                return {"state": TrialState.COMPLETE, "value": score}
        case states.TrialState.PRUNED:
            # As Optuna does for a trial that is pruned.
            value = curve[max(curve)] if curve else None
            return {"state": TrialState.PRUNED, "value": value}
        case states.TrialState.RUNNING | states.TrialState.INTERRUPTED:
            return {"state": TrialState.RUNNING}
    return {"state": TrialState.FAIL}
