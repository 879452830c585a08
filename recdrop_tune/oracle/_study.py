"""Opens the Optuna study of a search, a new one or the one that the search goes on with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from recdrop_tune.errors import ProjectError
from recdrop_tune.oracle._samplers import make_sampler, quiet_optuna, spread_seed
from recdrop_tune.oracle._scores import objectives, values_of


def open_study(oracle: Any, numbers: Mapping[str, int]) -> optuna.Study:
    """Opens the study of an `OptunaOracle`.

    Args:
        oracle: The oracle.
        numbers: Optuna's number of each of its trials.

    Raises:
        ProjectError: The storage holds a study of that name from another search.
    """
    folder = Path(oracle._project_dir)  # Keras Tuner has no public name for it.
    name = oracle.study_name or folder.name
    study = _load(oracle, folder, name)
    number = len(study.get_trials(deepcopy=False))
    if number and not oracle.trials and not (folder / "oracle.json").exists():
        raise ProjectError(
            f"The storage already holds a study named `{name}` of another search, with "
            f"{number} trials. Give another `study_name` or another storage."
        )
    if not isinstance(oracle.sampler, BaseSampler):
        study.sampler = make_sampler(oracle.sampler, spread_seed(oracle.seed, number))
    with quiet_optuna():
        _settle(study, oracle, numbers)
    return study


def _load(oracle: Any, folder: Path, name: str) -> optuna.Study:
    storage = oracle.storage
    if storage is None:
        storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    with quiet_optuna():
        return optuna.create_study(
            storage=storage,
            study_name=name,
            load_if_exists=True,
            directions=[
                "maximize" if each.direction == "max" else "minimize"
                for each in objectives(oracle.objective)
            ],
            sampler=oracle.sampler if isinstance(oracle.sampler, BaseSampler) else None,
            pruner=oracle.pruner,
        )


def _settle(study: optuna.Study, oracle: Any, numbers: Mapping[str, int]) -> None:
    """Ends Optuna trials which a crash left under way, as Keras Tuner's trials have ended."""
    trials = {number: oracle.trials.get(id) for id, number in numbers.items()}
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        trial = trials.get(left.number)
        if trial is not None and trial.status == "COMPLETED":
            study.tell(left.number, values_of(trial, oracle.objective))
        elif trial is not None and trial.status == "STOPPED":
            study.tell(left.number, state=TrialState.PRUNED)
        else:
            study.tell(left.number, state=TrialState.FAIL)
