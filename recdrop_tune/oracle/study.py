"""The Optuna study of a search: made from its trials, or loaded from a storage.

Keras Tuner's files say what each trial is and what came of it. So the study is no second store of that: it
is made in memory, from the trials, whenever a search is opened. What those files do not say are `Notes`, a
part of the oracle's state. Only a study in a storage that the user names is loaded, and given what it lacks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from recdrop_tune.addresses import MAKING_TABLES
from recdrop_tune.errors import ProjectError
from recdrop_tune.oracle.conditions import (
    HyperParameter,
    distribution,
    is_active,
    is_fixed,
    plain,
    to_drawn,
)
from recdrop_tune.oracle.repairs import ENDED, LOST
from recdrop_tune.oracle.samplers import DISCARDED, WARM, make_sampler, quiet_optuna
from recdrop_tune.oracle.scores import first_epochs, objectives, reached, values_of
from recdrop_tune.oracle.warm_start import WarmStart, WarmTrial

ID, BEST, RETRY = "keras_tuner_id", "best_value", "retry_of"
"""Attributes of Optuna's trials."""

# CMA-ES keeps its state as a pickle (`cma:optimizer:0`), and unpickles the last one to go on: a project
# folder from somebody else must hold none. Without it CMA-ES begins anew and makes up for it, one generation
# a trial. What TPE shares with other processes (`tpe:relative_params:0`) is among the trial's parameters.
_NOT_KEPT = re.compile(r"\boptimizer\b|\brelative_params\b")
# How far a pruner has judged a trial (`completed_rung_0`) is forgotten where the trial runs again.
_JUDGED = re.compile(r"^completed_rung_")


@dataclass(frozen=True)
class Notes:
    """What Optuna knows of a search that Keras Tuner's trials do not say.

    Attributes:
        attempts: Keras Tuner's id for each number of Optuna's; `None` for what was asked for and not run. A
            trial that was run again is there more than once.
        attributes: What samplers and pruners noted of a trial, by its number.
        queued: What the user has enqueued in the study: the number, and the user's attributes.
        study: What samplers noted of the study.
        warm: Trials of other searches, by their numbers.
    """

    attempts: Sequence[str | None] = ()
    attributes: Mapping[int, dict[str, Any]] = field(default_factory=dict)
    queued: Mapping[int, dict[str, Any]] = field(default_factory=dict)
    study: Mapping[str, Any] = field(default_factory=dict)
    warm: Mapping[int, WarmTrial] = field(default_factory=dict)

    @classmethod
    def of(cls, study: optuna.Study, storage: BaseStorage) -> Notes:
        """Takes note of a study in memory."""
        trials = study.get_trials(deepcopy=False)
        return cls(
            [None if t.user_attrs.get(DISCARDED) else t.user_attrs.get(ID) for t in trials],
            {t.number: kept for t in trials if (kept := _kept(t.system_attrs))},
            {t.number: dict(t.user_attrs) for t in trials if t.state == TrialState.WAITING},
            _kept(storage.get_study_system_attrs(id_in(storage, study))),
            warm_trials(study),
        )

    @classmethod
    def read(cls, saved: Mapping[str, Any]) -> Notes:
        """Reads what `saved` returned; a folder may come from somebody else.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: It makes no sense.
        """
        if "attempts" not in saved:  # Of an earlier version, which kept the study in a file.
            numbers = saved["numbers"]
            return cls(sorted(numbers, key=numbers.__getitem__))
        attempts = [id if id is None else str(id) for id in saved["attempts"]]
        attributes, queued = (
            {int(number): _kept(held) for number, held in saved[name].items()}
            for name in ("attributes", "queued")
        )
        warm = {int(n): WarmTrial.read(each) for n, each in saved.get("warm", {}).items()}
        return cls(attempts, attributes, queued, _kept(saved["study"]), warm)

    def saved(self) -> dict[str, Any]:
        """Returns it as JSON has it."""
        return {
            "attempts": list(self.attempts),
            "attributes": {str(number): held for number, held in self.attributes.items()},
            "queued": {str(number): held for number, held in self.queued.items()},
            "study": dict(self.study),
            "warm": {str(number): vars(trial) for number, trial in self.warm.items()},
        }


def _kept(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: held for name, held in attributes.items() if not _NOT_KEPT.search(name)}


def outcome(trial: Any, objective: Any) -> dict[str, Any]:
    """Returns how a trial has ended as `optuna.Study.tell` takes it."""
    values = values_of(trial, objective) if trial.status == "COMPLETED" else []
    # Optuna takes no value that is not a number; asked to, it makes a failed trial of it.
    if values and not any(map(math.isnan, values)):
        return {"values": values}
    return {"state": TrialState.PRUNED if trial.status == "STOPPED" else TrialState.FAIL}


def numbers_in(study: optuna.Study) -> dict[str, int]:
    """Returns Optuna's number of the last attempt at each trial of Keras Tuner's, by its id."""
    return {
        t.user_attrs[ID]: t.number
        for t in study.get_trials(deepcopy=False)
        if ID in t.user_attrs and not t.user_attrs.get(DISCARDED)
    }


def warm_trials(study: optuna.Study) -> dict[int, WarmTrial]:
    """Returns the trials of other searches that a study has, by their numbers."""
    trials = (t for t in study.get_trials(deepcopy=False) if WARM in t.user_attrs)
    return {t.number: WarmTrial(**t.user_attrs[WARM], scores=t.values) for t in trials}


def open_study(
    oracle: Any, notes: Notes, warm_start: WarmStart
) -> tuple[optuna.Study, BaseStorage]:
    """Opens the study of an `OptunaOracle`.

    Args:
        oracle: The oracle, with its trials.
        notes: What was saved beside them.
        warm_start: Other searches whose trials it is to have too.

    Returns:
        The study, and where it is.

    Raises:
        ProjectError: The storage holds a study of that name from another search.
        InvalidArgumentError: There is nothing to be used in another folder.
    """
    folder = Path(oracle._project_dir)  # Keras Tuner has no public name for it.
    name = oracle.study_name or folder.name
    sampler = oracle.sampler if isinstance(oracle.sampler, BaseSampler) else None
    options = {"study_name": name, "sampler": sampler, "pruner": oracle.pruner}
    with quiet_optuna():
        if oracle.storage is None:
            storage: BaseStorage = InMemoryStorage()
            study = _derive(oracle, storage, notes, **options)
        else:
            with MAKING_TABLES:
                storage = get_storage(oracle.storage)
            study = _load(oracle, storage, folder, **options)
        for trial in warm_start.missing(oracle, warm_trials(study).values()):
            study.add_trial(_frozen_warm(oracle, trial))
    if sampler is None:
        begun = len(study.get_trials(deepcopy=False)) - len(warm_trials(study))
        study.sampler = make_sampler(oracle.sampler, oracle.seed, begun)
    return study, storage


def study_of(
    oracle: Any, name: str, times: Mapping[str, tuple[float, float | None]]
) -> optuna.Study:
    """Makes a study in memory of the trials of any oracle, one of Optuna's for each, in the order of starts.

    Args:
        oracle: A `keras_tuner.Oracle`.
        name: The name of the study.
        times: When each trial began and ended, in seconds since 1970, by its id, as far as that is known.
    """
    with quiet_optuna():
        study = _create(oracle, InMemoryStorage(), study_name=name)
        for trial in _known_trials(oracle):
            made = frozen_trial(oracle, trial)
            began, ended = times.get(trial.trial_id, (None, None))
            if began is not None:
                made.datetime_start = datetime.fromtimestamp(began)
            if ended is not None and made.state.is_finished():
                made.datetime_complete = datetime.fromtimestamp(ended)
            study.add_trial(made)
    return study


def _known_trials(oracle: Any) -> list[Any]:
    """Lists the trials in the order of starts, without those whose files were lost."""
    trials = (oracle.trials[id] for id in oracle.start_order if id in oracle.trials)
    return [trial for trial in trials if trial.message != LOST]


def _derive(oracle: Any, storage: BaseStorage, notes: Notes, **options: Any) -> optuna.Study:
    """Makes the study of a search that goes on, in memory: a trial that has not ended is to begin anew."""
    study = _create(oracle, storage, **options)
    for name, value in notes.study.items():
        storage.set_study_system_attr(id_in(storage, study), name, value)
    last = {id: number for number, id in enumerate(notes.attempts)}
    earlier: dict[str, int] = {}
    for number, id in enumerate(notes.attempts):
        attributes = notes.attributes.get(number, {})
        trial = None if id is None else oracle.trials.get(id)
        if number in notes.queued:
            made = optuna.trial.create_trial(
                state=TrialState.WAITING,
                user_attrs=notes.queued[number],
                system_attrs=attributes,
            )
        elif number in notes.warm:
            made = _frozen_warm(oracle, notes.warm[number])
        elif id is None or trial is None or trial.message == LOST:
            # It has its number all the same: samplers draw by it.
            made = optuna.trial.create_trial(state=TrialState.FAIL, user_attrs={DISCARDED: True})
        else:
            made = frozen_trial(oracle, trial, attributes, anew=True, failed=number < last[id])
            if id in earlier:
                made.set_user_attr(RETRY, earlier[id])
            earlier[id] = number
        study.add_trial(made)
    for trial in _known_trials(oracle):
        if trial.trial_id not in earlier:
            study.add_trial(frozen_trial(oracle, trial, anew=True))
    return study


def _load(oracle: Any, storage: BaseStorage, folder: Path, **options: Any) -> optuna.Study:
    """Loads the study from the user's storage, and adds the trials that it lacks."""
    study = _create(oracle, storage, load_if_exists=True, **options)
    # Those of other searches are there before anything else is.
    known = [t for t in study.get_trials(deepcopy=False) if WARM not in t.user_attrs]
    if known and not oracle.trials and not (folder / "oracle.json").exists():
        raise ProjectError(
            f"The storage already holds a study named `{study.study_name}` of another search, with "
            f"{len(known)} trials. Give another `study_name` or another storage."
        )
    numbers = numbers_in(study)
    for trial in _known_trials(oracle):
        if trial.trial_id not in numbers and trial.status in ENDED:
            study.add_trial(frozen_trial(oracle, trial))
    # What a crash left under way has ended, or is run again as another attempt.
    ids = {number: id for id, number in numbers.items()}
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        trial = oracle.trials.get(ids.get(left.number, ""))
        ending = {"state": TrialState.FAIL} if trial is None else outcome(trial, oracle.objective)
        study.tell(left.number, **ending)
    return study


def _create(oracle: Any, storage: BaseStorage, **options: Any) -> optuna.Study:
    directions = [
        StudyDirection.MAXIMIZE if each.direction == "max" else StudyDirection.MINIMIZE
        for each in objectives(oracle.objective)
    ]
    return optuna.create_study(storage=storage, directions=directions, **options)


def id_in(storage: BaseStorage, study: optuna.Study) -> int:
    """Returns the number of a study in its storage."""
    return storage.get_study_id_from_name(study.study_name)


def frozen_trial(
    oracle: Any,
    trial: Any,
    attributes: Mapping[str, Any] | None = None,
    anew: bool = False,
    failed: bool = False,
) -> FrozenTrial:
    """Makes the trial of Optuna's that stands for one of Keras Tuner's.

    Args:
        oracle: The oracle: its space and objectives.
        trial: The trial.
        attributes: What samplers and pruners noted of it.
        anew: Whether a trial that has not ended begins anew.
        failed: Whether it stands for an attempt that failed, and another one came after.
    """
    goals, noted = objectives(oracle.objective), dict(attributes or {})
    params, distributions = as_optuna(oracle.hyperparameters.space, trial.hyperparameters.values)
    epochs = first_epochs(trial, goals[0].name) if len(goals) == 1 else {}
    best, ending = None, dict[str, Any]()
    if failed:  # What it reported was forgotten.
        ending, epochs = {"state": TrialState.FAIL}, {}
    elif trial.status in ENDED:
        ending = outcome(trial, oracle.objective)
        best = reached(trial, oracle.objective).value if trial.status == "STOPPED" else None
        if best is not None and epochs:  # What Optuna itself makes of a trial that is pruned.
            ending["value"] = epochs[max(epochs)]
    else:
        ending = {"state": TrialState.RUNNING}
        if anew:
            epochs = {}
            noted = {name: held for name, held in noted.items() if not _JUDGED.match(name)}
    return optuna.trial.create_trial(
        state=ending.pop("state", TrialState.COMPLETE),
        params=params,
        distributions=distributions,
        intermediate_values=epochs,
        user_attrs={ID: trial.trial_id} | ({} if best is None else {BEST: best}),
        system_attrs=noted,
        **ending,
    )


_FIRST_GENERATION = {"NSGAIISampler:generation": 0}
"""How Optuna's genetic algorithm notes that a trial is of its first population. A test fails if it goes."""


def _frozen_warm(oracle: Any, trial: WarmTrial) -> FrozenTrial:
    """Makes the trial of Optuna's that stands for one of another search; pruners get no epochs of it."""
    params, distributions = as_optuna(oracle.hyperparameters.space, trial.values)
    about = {name: held for name, held in vars(trial).items() if name != "scores"}
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE,
        params=params,
        distributions=distributions,
        values=list(trial.scores),
        user_attrs={WARM: about},
        system_attrs=dict(_FIRST_GENERATION) if oracle.sampler == "nsga2" else {},
    )


def as_optuna(
    space: Sequence[HyperParameter], values: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what Optuna would have drawn, and from what: active values, the fixed ones left out."""
    params, distributions = {}, {}
    for hp in space:
        if is_fixed(hp) or not is_given(hp, values):
            continue
        range_, value = distribution(hp), values[hp.name]
        if hasattr(hp, "min_value") and not is_number(value):
            continue  # Somebody has changed the file.
        drawn = to_drawn(hp, plain(hp, value))
        if _has(range_, drawn):
            params[hp.name], distributions[hp.name] = drawn, range_
    return params, distributions


def is_given(hp: HyperParameter, values: Mapping[str, Any]) -> bool:
    """Says whether a hyperparameter is active and has a value."""
    return hp.name in values and is_active(hp, values)


def _has(range_: Any, drawn: Any) -> bool:
    """Says whether a value is in a range, which may have been another one when it was drawn."""
    if isinstance(range_, optuna.distributions.CategoricalDistribution):
        return drawn in range_.choices
    # A default may lie beside the steps.
    steps = 0.0 if range_.log or not range_.step else (drawn - range_.low) / range_.step
    return bool(range_.low <= drawn <= range_.high) and abs(steps - round(steps)) < 1e-8


def is_number(value: Any) -> bool:
    """Says whether a value is a number that a range can have."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
