"""The Optuna study of a search, which follows from Keras Tuner's trials.

Keras Tuner's files are the one store of the trials. The study is made from them when a search is opened, with
one Optuna trial for each trial that has ended, and nothing of it is saved. Only where the user names a
storage does the study outlive the process. Then it is loaded, and what it lacks is added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
from keras_tuner.engine.trial import TrialStatus
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from recdrop_tune.addresses import MAKING_TABLES
from recdrop_tune.errors import ProjectError
from recdrop_tune.files import read_object
from recdrop_tune.hyperparameters import Space
from recdrop_tune.optuna_forms import quiet_optuna, to_optuna
from recdrop_tune.oracle.samplers import make_sampler
from recdrop_tune.oracle.scores import first_epochs, metrics_at
from recdrop_tune.oracle.surrogate import DISCARDED, WARM
from recdrop_tune.oracle.translation import read_values
from recdrop_tune.oracle.trial_files import END_STATUSES, save_state

ID = "keras_tuner_id"
"""User attribute of Optuna's trials: Keras Tuner's id."""

OWNER = "recdrop_search"
"""User attribute of a study: the id of the search that it belongs to, which the oracle's file has too."""


def open_study(oracle: Any, warm: Iterable[FrozenTrial] = ()) -> optuna.Study:
    """Opens the study of an `OptunaOracle`, with the trials of other searches first."""
    sampler = oracle.sampler if isinstance(oracle.sampler, BaseSampler) else None
    options = {"sampler": sampler, "pruner": oracle.pruner}
    with quiet_optuna():
        if oracle.storage is None:
            # Optuna's Hyperband assigns brackets by the study's name: a search in memory is to be the same in
            # any folder.
            study = _create(
                oracle, InMemoryStorage(), study_name=oracle.study_name or "search", **options
            )
        else:
            study = _stored_study(oracle, **options)
        known = [trial.user_attrs.get(WARM) for trial in study.get_trials(deepcopy=False)]
        study.add_trials(trial for trial in warm if trial.user_attrs[WARM] not in known)
        _complete(study, oracle)
        if sampler is None:
            trials = study.get_trials(deepcopy=False)
            begun = sum(WARM not in trial.user_attrs for trial in trials)
            study.sampler = make_sampler(oracle.sampler, oracle.seed, begun)
    return study


def _stored_study(oracle: Any, **options: Any) -> optuna.Study:
    """Opens the study of an oracle in its storage, or creates it; see `open_study`."""
    path = Path(oracle._get_oracle_fname())
    # A `keras_tuner.Tuner` that was killed in its first trial does not load the oracle.
    oracle.search_id = oracle.search_id or _search_id(path) or uuid4().hex
    name = _name_of_stored(oracle, path, oracle.search_id)
    with MAKING_TABLES:
        storage = get_storage(oracle.storage)
    study = _create(oracle, storage, study_name=name, load_if_exists=True, **options)
    owner, trials = study.user_attrs.get(OWNER), study.get_trials(deepcopy=False)
    if owner is None and not trials:
        # First, or a search that is killed in between would not know its own study.
        save_state(oracle)
        study.set_user_attr(OWNER, oracle.search_id)
    elif owner != oracle.search_id:
        raise ProjectError(
            f"The storage already holds a study named `{name}` of another search, with {len(trials)} "
            "trials. Give another `study_name` or another storage."
        )
    return study


def delete_study(oracle: Any, path: Path) -> None:
    """Deletes the study of an earlier search, whose oracle's file is at `path`, from the oracle's storage."""
    with suppress(ProjectError, KeyError):  # The file is damaged; there is no such study.
        search_id = _search_id(path)
        if search_id is None or oracle.storage is None:
            return
        name = _name_of_stored(oracle, path, search_id)
        study = optuna.load_study(study_name=name, storage=oracle.storage)
        if study.user_attrs.get(OWNER) == search_id:
            optuna.delete_study(study_name=name, storage=oracle.storage)


def _search_id(path: Path) -> str | None:
    return (read_object(path) or {}).get("search_id")


def _name_of_stored(oracle: Any, path: Path, search_id: str) -> str:
    return oracle.study_name or f"{path.parent.name}-{search_id!s:.8}"


def _complete(study: optuna.Study, oracle: Any) -> None:
    """Ends the trials that a killed process left running in a study, and adds those that it lacks."""
    numbers = numbers_in(study)
    ids = {number: trial_id for trial_id, number in numbers.items()}
    under_way = {trial.trial_id for trial in oracle.ongoing_trials.values()}
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        trial = oracle.trials.get(ids.get(left.number, ""))
        if trial is None or trial.trial_id not in under_way:
            ending = outcome(trial, oracle.objective) if trial else {"state": TrialState.FAIL}
            study.tell(left.number, **ending)
    for trial_id in oracle.start_order:
        trial = oracle.trials[trial_id]
        # One that has not ended, and that nobody is running, runs again as another trial of Optuna's.
        if trial_id not in numbers and (trial.status in END_STATUSES or trial_id in under_way):
            study.add_trial(frozen_trial(oracle.space, trial, oracle.objective))


def _create(oracle: Any, storage: BaseStorage, **options: Any) -> optuna.Study:
    maximize = oracle.objective.direction == "max"
    direction = StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE
    return optuna.create_study(storage=storage, direction=direction, **options)


def numbers_in(study: optuna.Study) -> dict[str, int]:
    """Returns Optuna's number of the last attempt at each trial, by Keras Tuner's id."""
    return {
        trial.user_attrs[ID]: trial.number
        for trial in study.get_trials(deepcopy=False)
        if ID in trial.user_attrs and not trial.user_attrs.get(DISCARDED)
    }


def outcome(trial: Any, objective: Any) -> dict[str, Any]:
    """Returns how a trial has ended, as arguments of `optuna.Study.tell`."""
    if trial.status == TrialStatus.COMPLETED:
        value = metrics_at(trial, trial.best_step).get(objective.name, math.nan)
        # Optuna takes no NaN: it would end the trial as failed.
        if not math.isnan(value):
            return {"values": [value]}
    return {"state": TrialState.PRUNED if trial.status == TrialStatus.STOPPED else TrialState.FAIL}


def frozen_trial(space: Space, trial: Any, objective: Any) -> FrozenTrial:
    """Makes the Optuna trial that corresponds to one of Keras Tuner's."""
    params, distributions = to_optuna(space, read_values(space, trial.hyperparameters.values))
    epochs = first_epochs(trial, objective.name)
    ending: dict[str, Any] = {"state": TrialState.RUNNING}
    if trial.status in END_STATUSES:
        ending = {"state": TrialState.COMPLETE, **outcome(trial, objective)}
        if trial.status == TrialStatus.STOPPED and epochs:
            ending["value"] = epochs[max(epochs)]  # As Optuna does for a trial that is pruned.
    return optuna.trial.create_trial(
        params=params,
        distributions=distributions,
        intermediate_values=epochs,
        user_attrs={ID: trial.trial_id},
        **ending,
    )
