"""The complete trials of other searches, which a sampler learns from before it proposes anything."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recdrop_tune.errors import invalid_argument
from recdrop_tune.files import as_folders, check_folder, check_trial_ids
from recdrop_tune.oracle.known_points import within
from recdrop_tune.oracle.parameters import Values
from recdrop_tune.oracle.scores import objectives, values_of
from recdrop_tune.oracle.trial_files import read_trials
from recdrop_tune.oracle.twins import active_values

_ARGUMENT = "warm_start"


@dataclass(frozen=True)
class WarmTrial:
    """A complete trial of another search.

    Attributes:
        source: The folder of that search, and the trial's id there.
        values: Its active values, by the names of this search.
        scores: The value of each objective.
    """

    source: Mapping[str, str]
    values: Values
    scores: Sequence[float]


def warm_folders(folders: Any) -> list[str]:
    """Returns the folders given as `warm_start`, links resolved, each once.

    Raises:
        InvalidArgumentError: They are not paths.
    """
    return list(dict.fromkeys(map(os.path.realpath, as_folders(_ARGUMENT, folders))))


def read_warm_trials(
    folders: Sequence[str], oracle: Any, own: str | os.PathLike[str] | None = None
) -> tuple[list[WarmTrial], list[str]]:
    """Reads the trials of other searches that lie in the space of a search.

    Args:
        folders: The folders of the other searches.
        oracle: The oracle of the search, whose space is known.
        own: The project folder of the search; None: the oracle's.

    Returns:
        The trials, and a line for each folder that counts them.

    Raises:
        InvalidArgumentError: No trial can be used; or a folder holds no other search, or one with another
            objective.
        ProjectError: A file is damaged, or a link leads out of a folder.
    """
    found: list[WarmTrial] = []
    lines = []
    for folder in folders:
        if folder == os.path.realpath(own or oracle._project_dir):
            raise invalid_argument(
                _ARGUMENT,
                expected="folders of other searches",
                received=folder,
                fix="A search resumes with its own trials: leave it out.",
            )
        if not any(Path(folder).glob("trial_*/trial.json")):
            found_there = "no search" if Path(folder).is_dir() else "no folder"
            raise invalid_argument(
                _ARGUMENT,
                expected="the project folder of an earlier search",
                received=folder,
                fix=f"There is {found_there} there.",
            )
        complete = _complete(folder)
        _check_objective(folder, complete, oracle.objective)
        used = []
        for trial in complete:
            scores = values_of(trial, oracle.objective)
            values = within(oracle.hyperparameters.space, _values(trial))
            if values is not None and all(map(math.isfinite, scores)):
                used.append(
                    WarmTrial({"folder": folder, "trial_id": trial.trial_id}, values, scores)
                )
        found += used
        outside = len(complete) - len(used)
        where = f"; {outside} outside the search space" if outside else ""
        lines.append(
            f"Warm start: {len(used)} of {len(complete)} complete trials of {folder}{where}."
        )
    if folders and not found:
        raise invalid_argument(
            _ARGUMENT,
            expected="folders with complete trials whose values lie in the space of this search",
            received=list(folders),
            fix=" ".join(lines),
        )
    return found, lines


def _complete(folder: str | Path) -> list[Any]:
    """Reads the complete trials of a folder, in the order in which they began."""
    check_folder(folder)
    trials = read_trials(Path(folder))
    check_trial_ids(folder, trials)
    # Ids have as many digits as `max_trials` had, which can grow.
    order = sorted(trials, key=lambda id: (len(id.lstrip("0")), id.lstrip("0")))
    complete = [trials[id] for id in order if trials[id].status == "COMPLETED"]
    # Keras Tuner's Hyperband trains most trials for a part of the epochs: their scores do not compare.
    epochs = [trial.hyperparameters.values.get("tuner/epochs", 0) for trial in complete]
    return [t for t, n in zip(complete, epochs, strict=True) if n == max(epochs)]


def _values(trial: Any) -> Values:
    """Returns the active values of a trial, without those that Hyperband adds."""
    values = active_values(trial.hyperparameters)
    return {name: value for name, value in values.items() if not name.startswith("tuner/")}


def _check_objective(folder: str, trials: Sequence[Any], objective: Any) -> None:
    goals = objectives(objective)
    for trial in trials:
        metrics = trial.metrics.metrics
        wrong = ""
        if not all(goal.name in metrics for goal in goals):
            wrong = f"Its trials report {', '.join(sorted(metrics))}."
        # With several objectives, Keras Tuner stores neither their names nor their directions.
        elif len(goals) == 1 and metrics[goals[0].name].direction != goals[0].direction:
            wrong = f"Its direction there is {metrics[goals[0].name].direction}."
        elif len(goals) == 1 and not math.isclose(trial.score, values_of(trial, objective)[0]):
            wrong = "Its trials were scored by something else."
        if wrong:
            names = ", ".join(f"{goal.name} ({goal.direction})" for goal in goals)
            raise invalid_argument(
                _ARGUMENT,
                expected=f"folders of searches with the objective {names}",
                received=folder,
                fix=wrong,
            )
