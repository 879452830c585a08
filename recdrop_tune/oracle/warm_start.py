"""The trials of other project folders, which the sampler of a search is told of before it proposes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.files import SEARCH, as_folders, check_folder, check_trial_ids
from recdrop_tune.oracle.conditions import HyperParameter, is_fixed
from recdrop_tune.oracle.known_points import within
from recdrop_tune.oracle.parameters import Values
from recdrop_tune.oracle.repairs import LOST, in_order, read_object, read_trial
from recdrop_tune.oracle.scores import objectives, values_of
from recdrop_tune.oracle.twins import active_values
from recdrop_tune.spaces import plain_names

_ARGUMENT = "warm_start"
_TUNERS_OWN, _EPOCHS = "tuner/", "tuner/epochs"
"""How Hyperband begins the names of what it adds to a trial's values, and the epochs of its round."""


@dataclass(frozen=True)
class WarmTrial:
    """A complete trial of another search.

    Attributes:
        folder: The project folder of that search.
        trial_id: Keras Tuner's id of it there.
        values: Its active values, by the names of this search.
        scores: The value of each objective.
        search_id: What that search calls itself, if it does: its folder may be moved.
    """

    folder: str
    trial_id: str
    values: Values
    scores: Sequence[float]
    search_id: str | None = None

    @property
    def key(self) -> str:
        """Tells it from others, by whatever name its folder goes."""
        told = [self.search_id, self.trial_id, self.values, list(self.scores)]
        return json.dumps(told, sort_keys=True, default=str)

    @classmethod
    def read(cls, saved: Mapping[str, Any]) -> WarmTrial:
        """Reads what `vars` of one was; a folder may come from somebody else.

        Raises:
            LookupError, TypeError, ValueError: It makes no sense.
        """
        values = {str(name): value for name, value in dict(saved["values"]).items()}
        scores = [float(score) for score in saved["scores"]]
        if not all(map(math.isfinite, scores)):
            raise ValueError("A complete trial has a finite score.")
        search_id = saved.get("search_id")
        told = None if search_id is None else str(search_id)
        return cls(str(saved["folder"]), str(saved["trial_id"]), values, scores, told)


class WarmStart:
    """Reads the trials of other folders, once in the life of a search, and counts them.

    What is used of them is kept with the search: it goes on as it was, whatever becomes of the folders.

    Args:
        folders: The project folders, or one.

    Attributes:
        folders: The folders, links resolved, each once.
        counts: Of each folder that was read, how many trials are used, and how many are complete.
        same: The folder whose trials those of another one are, which was copied or moved.

    Raises:
        InvalidArgumentError: They are no paths.
    """

    def __init__(self, folders: Any = ()) -> None:
        real = (os.path.realpath(folder) for folder in as_folders(_ARGUMENT, folders))
        self.folders = list(dict.fromkeys(real))
        self.counts: dict[str, tuple[int, int]] = {}
        self.same: dict[str, str] = {}
        self._read: dict[str, list[WarmTrial]] = {}

    def restore(self, counts: Any, same: Any) -> None:
        """Restores `counts` and `same` as JSON has them; a folder may come from somebody else."""
        pairs = counts.items() if isinstance(counts, Mapping) else ()
        self.counts = {str(folder): (int(used), int(every)) for folder, (used, every) in pairs}
        self.same = {str(f): str(of) for f, of in dict(same or {}).items()}
        self._read = {}

    def read(self, oracle: Any) -> list[str]:
        """Reads the folders that have not been read in the search's life; says in lines what is used of them.

        Args:
            oracle: The oracle, whose space is known.

        Raises:
            InvalidArgumentError: There is nothing to be used in any of them, or one is the folder of the
                search itself, or of one with another objective.
            ProjectError: A link leads out of a folder.
        """
        for folder in self.folders:
            if folder not in self.counts:
                self._read_one(folder, oracle)
        if self.folders and not any(self.counts[folder][0] for folder in self.folders):
            raise invalid_argument(
                _ARGUMENT,
                expected="folders with complete trials whose values lie in the space of this search",
                received=self.folders,
                fix=f"{' '.join(self.lines())} {self._remedy(oracle.hyperparameters.space)}",
            )
        return self.lines()

    def lines(self) -> list[str]:
        """Says of each folder how many of its trials are used."""
        return [_line(folder, *self.counts[folder]) for folder in self.folders]

    def missing(self, oracle: Any, present: Iterable[WarmTrial]) -> list[WarmTrial]:
        """Lists the trials that a study lacks.

        Args:
            oracle: The oracle.
            present: Those that it has.

        Raises:
            InvalidArgumentError, ProjectError: As `read`; or a folder that the study has forgotten is gone.
        """
        had = {trial.key: trial.folder for trial in present}
        known = set(had.values())
        self.read(oracle)
        lacking = [
            f for f in self.folders if self.counts[f][0] and not {f, self.same.get(f)} & known
        ]
        found: list[WarmTrial] = []
        for folder in lacking:
            if folder not in self._read:
                self._read_one(folder, oracle)
            new = [trial for trial in self._read[folder] if trial.key not in had]
            if not new:
                self.same[folder] = had[self._read[folder][0].key]
            had |= {trial.key: folder for trial in new}
            found += new
        return found

    def _remedy(self, space: Sequence[HyperParameter]) -> str:
        """Says what to do where no trial of any folder can be used."""
        trials = [trial for folder in self.folders for trial in _complete(folder) or []]
        if not trials:
            return f"None is complete yet: go on with the search there, or leave `{_ARGUMENT}` out."
        there = {hp.name for t in trials for hp in t.hyperparameters.space}
        held, asked = (
            set(plain_names(dict.fromkeys(names))) for names in (there, [hp.name for hp in space])
        )
        new, gone = ", ".join(sorted(asked - held)), ", ".join(sorted(held - asked))
        if not new and not gone:
            return f"The values differ: widen the space, or leave `{_ARGUMENT}` out."
        said = [f"{new} only here"] * bool(new) + [f"{gone} only there"] * bool(gone)
        return (
            f"The hyperparameters differ: {', '.join(said)}. Search the same ones, or leave "
            f"`{_ARGUMENT}` out."
        )

    def _read_one(self, folder: str, oracle: Any) -> None:
        if folder == os.path.realpath(oracle._project_dir):
            raise invalid_argument(
                _ARGUMENT,
                expected="folders of other searches",
                received=folder,
                fix="A search goes on with its own trials by itself: leave it out.",
            )
        complete = _complete_trials(folder, oracle.objective)
        space = oracle.hyperparameters.space
        found = [(t, within(space, _values(t))) for t in complete]
        search_id = (read_object(Path(folder) / SEARCH) or {}).get("id")
        told = None if search_id is None else str(search_id)
        self._read[folder] = [
            WarmTrial(folder, trial.trial_id, values, values_of(trial, oracle.objective), told)
            for trial, values in found
            if values is not None
        ]
        self.counts[folder] = len(self._read[folder]), len(complete)


def _line(folder: str, used: int, complete: int) -> str:
    outside = complete - used
    verb = "lies" if outside == 1 else "lie"
    said = f"; {outside} {verb} outside the space" if outside else ""
    return f"Warm start: {used} of {complete} complete trials of {folder}{said}."


def _complete_trials(folder: str, objective: Any) -> list[Any]:
    """Reads the complete trials of a folder, in the order of their beginnings.

    Raises:
        InvalidArgumentError: There is no search, or one with another objective.
        ProjectError: A link leads out of the folder, or a trial names a path elsewhere.
    """
    complete = _complete(folder)
    if complete is None:
        found = "no search" if Path(folder).is_dir() else "no folder"
        raise invalid_argument(
            _ARGUMENT,
            expected="the project folder of an earlier search",
            received=folder,
            fix=f"There is {found} there.",
        )
    for trial in complete:
        _check_objective(folder, trial, objective)
    return [t for t in complete if all(map(math.isfinite, values_of(t, objective)))]


def _complete(folder: str | Path) -> list[Any] | None:
    """Reads the complete trials of a folder; `None` where there are no trials at all.

    Those of Hyperband that got a part of the epochs are left out: their scores do not compare.
    """
    files = sorted(Path(folder).glob("trial_*/trial.json"))
    if not files:
        return None
    check_folder(folder)
    read = (read_trial(file) for file in files)
    trials = {trial.trial_id: trial for trial in read if trial is not None}
    check_trial_ids(folder, trials)
    complete = [trials[id] for id in in_order(trials) if _is_complete(trials[id])]
    return _of_all_epochs(folder, complete)


def _of_all_epochs(folder: str | Path, trials: Sequence[Any]) -> list[Any]:
    """Lists the trials but those of the first rounds of a Hyperband search."""
    epochs = {t.trial_id: t.hyperparameters.values.get(_EPOCHS) for t in trials}
    numbers = {id: each for id, each in epochs.items() if isinstance(each, int | float)}
    saved = (read_object(Path(folder) / "oracle.json") or {}).get("max_epochs")
    full = saved if isinstance(saved, int | float) else max(numbers.values(), default=0)
    return [trial for trial in trials if numbers.get(trial.trial_id, full) >= full]


def _values(trial: Any) -> Values:
    """Returns the active values of a trial, without what a tuner has added for itself."""
    values = active_values(trial.hyperparameters)
    return {name: value for name, value in values.items() if not name.startswith(_TUNERS_OWN)}


def count_within(folder: str | Path, space: Sequence[HyperParameter]) -> int:
    """Counts the complete trials of another search that lie in a space.

    Raises:
        ProjectError: A link leads out of the folder, or a trial names a path elsewhere.
    """
    return sum(within(space, _values(trial)) is not None for trial in _complete(folder) or [])


def best_points(
    folder: str | Path, space: Sequence[HyperParameter], maximize: bool, number: int = 3
) -> list[Values]:
    """Lists the best configurations of another search that lie in a space, best first, for `try_first`.

    Args:
        folder: Its project folder.
        space: The hyperparameters of the search that is to try them.
        maximize: Whether its one objective is to grow.
        number: How many, at most.

    Raises:
        ProjectError: A link leads out of the folder, or a trial names a path elsewhere.
    """
    sign = -1.0 if maximize else 1.0
    ranked = sorted(_complete(folder) or [], key=lambda trial: sign * trial.score)
    fixed = {hp.name for hp in space if is_fixed(hp)}
    points: list[Values] = []
    for values in (within(space, _values(trial)) for trial in ranked):
        searched = {n: v for n, v in (values or {}).items() if n not in fixed}
        point = plain_names(searched)
        points += [point] if searched and point not in points else []
    return points[:number]


def _is_complete(trial: Any) -> bool:
    return bool(trial.status == "COMPLETED" and trial.message != LOST)


def _check_objective(folder: str, trial: Any, objective: Any) -> None:
    """Raises where a trial was scored by something else than an objective."""
    goals = objectives(objective)
    for goal in goals:
        if not trial.metrics.exists(goal.name):
            had = f"What its trials report is {', '.join(sorted(trial.metrics.metrics))}."
            raise _other_objective(folder, goal.name, had)
    if len(goals) > 1:
        return  # Of several, Keras Tuner notes neither which they are nor their directions.
    (goal,) = goals
    direction = trial.metrics.metrics[goal.name].direction
    if not math.isclose(trial.score, values_of(trial, objective)[0]):
        had = f"Its trials report {goal.name}, and were scored by something else."
        raise _other_objective(folder, goal.name, had)
    if direction != goal.direction:
        expected = f"{goal.name} with the direction {goal.direction}"
        raise _other_objective(folder, expected, f"Its direction there is {direction}.")


def _other_objective(folder: str, goal: str, had: str) -> InvalidArgumentError:
    expected = f"folders of searches with the objective {goal}"
    return invalid_argument(_ARGUMENT, expected=expected, received=folder, fix=had)
