"""The Optuna study of a search, which follows from Keras Tuner's trials.

Keras Tuner's files are the one store of the trials. The study is made from them when a search is opened, with
one Optuna trial for each trial that has ended, and nothing of it is saved.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import optuna
from keras_tuner.engine.trial import Trial, TrialStatus
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from recdrop_tune.hyperparameters import Space
from recdrop_tune.optuna_forms import quiet_optuna, to_optuna
from recdrop_tune.oracle.samplers import make_sampler
from recdrop_tune.oracle.scores import first_epochs
from recdrop_tune.oracle.searching import Searching
from recdrop_tune.oracle.translation import read_values
from recdrop_tune.oracle.trial_files import END_STATUSES

ID = "keras_tuner_id"
"""User attribute of Optuna's trials: Keras Tuner's id."""


def open_study(oracle: Searching, warm: Iterable[FrozenTrial] = ()) -> optuna.Study:
    """Makes the study of an `OptunaOracle`, with the trials of other searches first."""
    maximize = oracle.objective.direction == "max"
    under_way = {trial.trial_id for trial in oracle.ongoing_trials.values()}
    with quiet_optuna():
        own = [
            frozen_trial(oracle.space, trial, oracle.objective)
            for trial in map(oracle.trials.__getitem__, oracle.start_order)
            # One that has not ended, and that nobody is running, runs again as another trial of Optuna's.
            if trial.status in END_STATUSES or trial.trial_id in under_way
        ]
        sampler = oracle.sampler
        if not isinstance(sampler, BaseSampler):
            sampler = make_sampler(sampler, oracle.seed, len(own))
        study = optuna.create_study(
            # Optuna's Hyperband assigns brackets by the name: a search is to be the same in any folder.
            study_name="search",
            direction=StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE,
            sampler=sampler,
            pruner=oracle.pruner,
        )
        study.add_trials([*warm, *own])
    return study


def outcome(trial: Trial) -> dict[str, Any]:
    """Returns how a trial has ended, as arguments of `optuna.Study.tell`."""
    if trial.status == TrialStatus.COMPLETED:
        return {"values": [trial.score]}
    return {"state": TrialState.PRUNED if trial.status == TrialStatus.STOPPED else TrialState.FAIL}


def frozen_trial(space: Space, trial: Trial, objective: Any) -> FrozenTrial:
    """Makes the Optuna trial that corresponds to one of Keras Tuner's."""
    params, distributions = to_optuna(space, read_values(space, trial.hyperparameters.values))
    epochs = first_epochs(trial, objective.name)
    ending: dict[str, Any] = {"state": TrialState.RUNNING}
    if trial.status in END_STATUSES:
        ending = {"state": TrialState.COMPLETE, **outcome(trial)}
        if trial.status == TrialStatus.STOPPED and epochs:
            ending["value"] = epochs[max(epochs)]  # As Optuna does for a trial that is pruned.
    return optuna.trial.create_trial(
        params=params,
        distributions=distributions,
        intermediate_values=epochs,
        user_attrs={ID: trial.trial_id},
        **ending,
    )
