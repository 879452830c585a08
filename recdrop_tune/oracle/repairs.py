"""Repairs an oracle whose files are damaged, gone or say too little, from those that are whole.

Keras Tuner has a file for each trial, and one for what the oracle itself knows: the order of the trials,
what has been tried, how far the search has come. The second follows from the first. A trial follows from the
journal of events, which lies above this layer: `recdrop_tune.search` puts trials back before the oracle is
loaded. Here a trial that is still missing is left out, and its id is given to no other one.

`_record_values`, `_max_collisions`, and Hyperband's `_get_size`, `_get_num_brackets` and `_get_num_rounds`
are Keras Tuner's: it has no public names for them. A test fails if they go.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cmp_to_key
from pathlib import Path
from typing import Any

import keras_tuner as kt

from recdrop_tune.errors import ProjectError, ProjectWarning
from recdrop_tune.files import trial_folder, write_atomically

ENDED = ("COMPLETED", "FAILED", "STOPPED")
"""Keras Tuner's words for trials that are over."""

_STATUSES = (*ENDED, "RUNNING", "IDLE", "INVALID")

# What Keras Tuner and `json` raise over content that makes no sense.
_FAULTS = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, OverflowError)

LOST = "Its file was lost, and with it what it was and what came of it."
"""The message of a trial that stands for one of which nothing is left."""


def is_chief() -> bool:
    """Says whether this process is the chief of Keras Tuner's chief and workers."""
    return "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")


def say(text: str) -> None:
    """Warns of damage in a project folder, and tells what was made of it."""
    warnings.warn(text, ProjectWarning, stacklevel=2)


def set_aside(path: Path) -> str:
    """Gives a damaged file another name in its folder, so that nothing of it is lost; returns that name."""
    number = 1
    while True:
        kept = path.with_name(f"{path.name}.damaged{'' if number == 1 else f'-{number}'}")
        if not os.path.lexists(kept):
            path.rename(kept)
            return kept.name
        number += 1


def read_object(path: Path) -> dict[str, Any] | None:
    """Reads a file with a JSON object; `None` where it is not there, or damaged.

    Raises:
        ProjectError: It cannot be read, which is no damage: nothing may be made in its place.
    """
    try:
        held = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    except OSError as error:
        raise ProjectError(f"`{path}` cannot be read: {error}. Nothing was changed.") from error
    return held if isinstance(held, dict) else None


def read_trial(path: Path) -> Any | None:
    """Reads the file of a trial.

    Args:
        path: The file `trial.json` in the trial's folder.

    Returns:
        A `keras_tuner.engine.trial.Trial`; `None` where the file is not there, or damaged.

    Raises:
        ProjectError: Its id is a path that leads elsewhere: somebody has changed it.
    """
    held = read_object(path)
    try:
        trial = None if held is None else kt.engine.trial.Trial.from_state(held)
        if trial is None or not _is_sound(trial):
            return None
    except _FAULTS:
        return None
    own = trial_folder(path.parent.parent, trial.trial_id, path.name)
    return trial if own.name == path.parent.name else None


def _is_sound(trial: Any) -> bool:
    scored = isinstance(trial.score, float | int) and isinstance(trial.best_step, int)
    for history in trial.metrics.metrics.values():
        for each in history.get_history():
            float(each.mean()), float(each.step)  # Of a number without end it is an OverflowError.
    return trial.status in _STATUSES and (scored or trial.status != "COMPLETED")


def decide_whether_to_go_on(folder: Path) -> None:
    """Makes Keras Tuner go on with a search of which anything is left, and begin anew otherwise.

    Keras Tuner decides by the file of the tuner alone, in which there is nothing: without it all trials would
    be trained again.

    Args:
        folder: The project folder.
    """
    if "KERASTUNER_ORACLE_IP" in os.environ and not is_chief():
        return  # A worker, whose chief has the files.
    path = folder / f"{os.environ.get('KERASTUNER_TUNER_ID', 'tuner0')}.json"
    oracle = folder / "oracle.json"
    files = sorted(folder.glob("trial_*/trial.json"))
    if read_object(oracle) or any(read_trial(file) is not None for file in files):
        if path.exists() and read_object(path) is None:
            say(f"`{path}` was damaged; it is kept as `{set_aside(path)}`.")
        if not path.exists():
            write_atomically(path, "{}")
        return
    if not any(file.exists() for file in (path, oracle, *files)):
        return  # Nothing has begun here.
    for damaged in (path, oracle, *files):
        if damaged.exists():
            kept = set_aside(damaged)
            say(
                f"`{damaged}` is kept as `{kept}`: no file of a trial is whole, nor `{oracle.name}`, so "
                "that the search begins anew."
            )


def reload(oracle: Any, load: Callable[[], None]) -> None:
    """Loads an oracle from its files, and makes its state anew where its file does not allow for it.

    Args:
        oracle: The oracle, as its constructor has made it.
        load: Loads it.

    Raises:
        ProjectError: Neither its file nor that of any trial is whole, or one names a path that leads
            elsewhere.
    """
    path = Path(oracle._get_oracle_fname())
    fresh = oracle.get_state()
    # Before the trials, each of which is written before the state: a search may be running in the folder.
    state = read_object(path)
    trials, fault = _whole_trials(path.parent), None
    order = None if state is None else state.get("start_order")
    if isinstance(order, list):
        _stand_in(path.parent, trials, order)
        try:
            load()
            return
        except ProjectError:
            raise
        except _FAULTS as error:
            fault = error
    if not trials:
        raise ProjectError(
            f"`{path}` is damaged, and no trial is there from which to make it anew. Give another "
            "`directory`, or delete the search with `overwrite=True`."
        ) from fault
    kept = f", and is kept as `{set_aside(path)}`" if path.exists() else ""
    _stand_in(path.parent, trials, all_ids(trials))
    write_atomically(path, json.dumps(rebuilt_state(oracle, fresh, trials)))
    load()
    for trial in oracle.trials.values():
        oracle._record_values(trial)
    oracle.save()
    say(
        f"`{path}` was damaged or missing{kept}. It was made anew from the {len(trials)} trials beside it: "
        "they count as they are, but what is tried next may be something else than without the damage."
    )


def rebuilt_state(
    oracle: Any, fresh: Mapping[str, Any], trials: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the state of an oracle as its trials tell it.

    What has been tried is not in it: see `_record_values`.

    Args:
        oracle: The oracle.
        fresh: Its state before any trial.
        trials: The trials by id.
    """
    order = in_order(trials)
    ended = [id for id in order if trials[id].status in ENDED]
    space = kt.HyperParameters.from_config(fresh["hyperparameters"])
    for id in order:
        # Overwriting, Keras Tuner would have each hyperparameter once more.
        space.merge(trials[id].hyperparameters, overwrite=False)
    # Each number seeds one draw. Beyond all that can have been drawn, nothing is drawn twice.
    draws = len(space.space) * len(trials) * (oracle._max_collisions + 1)
    state = {
        **fresh,
        "hyperparameters": space.get_config(),
        "start_order": order,
        "end_order": ended,
        "run_times": dict.fromkeys(ended, 1),
        "seed_state": fresh["seed_state"] + draws,
    }
    if isinstance(oracle, kt.oracles.HyperbandOracle):
        state |= _hyperband(oracle, [trials[id] for id in order])
    return state


def _hyperband(oracle: Any, trials: list[Any]) -> dict[str, Any]:
    """Sorts the trials of Hyperband into its brackets and rounds, as it has done itself."""

    def bracket(number: int) -> dict[str, Any]:
        return {
            "bracket_num": number,
            "rounds": [[] for _ in range(oracle._get_num_rounds(number))],
        }

    first = oracle._get_num_brackets() - 1
    number, iteration = first, 0
    brackets = [bracket(number)]
    for trial in trials:
        values = trial.hyperparameters.values
        round_number, past = values.get("tuner/round"), values.get("tuner/trial_id")
        entry = {"past_id": past, "id": trial.trial_id}
        if round_number == 0:
            full = len(brackets[-1]["rounds"][0]) >= oracle._get_size(number, 0)
            if full or values["tuner/bracket"] != number:
                number, iteration = (number - 1, iteration) if number else (first, iteration + 1)
                brackets.append(bracket(number))
            brackets[-1]["rounds"][0].append({**entry, "past_id": None})
            continue
        for each in brackets if round_number else ():
            if any(earlier["id"] == past for earlier in each["rounds"][round_number - 1]):
                each["rounds"][round_number].append(entry)
    return {"brackets": brackets, "current_bracket": number, "current_iteration": iteration}


def _whole_trials(folder: Path) -> dict[str, Any]:
    """Reads the trials of a project, and gives the files that are damaged other names."""
    trials = {}
    for path in sorted(folder.glob("trial_*/trial.json")):
        trial = read_trial(path)
        if trial is None:
            say(f"`{path}` was damaged; it is kept as `{set_aside(path)}`.")
        else:
            trials[trial.trial_id] = trial
    return trials


def _stand_in(folder: Path, trials: dict[str, Any], ids: list[str]) -> None:
    """Writes a failed trial in the place of each that is missing: Keras Tuner counts trials to name them."""
    for id in ids:
        if id in trials:
            continue
        path = trial_folder(folder, id, "oracle.json") / "trial.json"
        if os.path.lexists(path):
            continue  # Of a search that is running.
        trial = kt.engine.trial.Trial(
            kt.HyperParameters(), trial_id=id, status="FAILED", message=LOST
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(trial.get_state()))
        trials[id] = trial
        say(
            f"`{path}` is missing, and nothing else tells of the trial: it counts as failed, and the search "
            "goes on without it."
        )


def all_ids(trials: Mapping[str, Any]) -> list[str]:
    """Lists the ids of trials, and those that must have been between them."""
    ids = in_order(trials)
    if not all(id.isdecimal() for id in ids):
        return ids  # Another oracle's, with ids of its own.
    known = {int(id): id for id in ids}
    width, found = len(ids[0]), []
    for number in range(int(ids[-1]) + 1):
        found.append(known.get(number, f"{number:0{width}d}"))
        width = len(found[-1])
    return found


def in_order(ids: Iterable[str]) -> list[str]:
    """Sorts the ids of trials by when they began.

    Keras Tuner's are numbers, with as many leading zeros as `max_trials` called for then.

    Example:
        >>> in_order(["10", "08", "7"])
        ['7', '08', '10']
    """
    found = sorted(ids)
    return sorted(found, key=int) if all(id.isdecimal() for id in found) else found


class ResumesGrid:
    """Comes before a `keras_tuner.oracles.GridSearchOracle` among the bases of a class.

    Keras Tuner saves neither the order of the configurations tried nor those whose successors are
    still to be tried, so that a search which was loaded ends at once. Both follow from the trials.

    `_ordered_ids`, `_populate_next` and `_compare` are Keras Tuner's. A test fails if they go.
    """

    trials: dict[str, Any]
    start_order: list[str]
    end_order: list[str]
    _compare: Any

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned, and the place in the grid."""
        super().set_state(state)  # type: ignore[misc]
        kind: Any = type(self._ordered_ids)
        self._ordered_ids: Any = kind()  # It may be loaded more than once.
        # A trial whose file was lost has no place in the grid.
        known = [id for id in self.start_order if self.trials[id].hyperparameters.values]
        ordered = sorted(known, key=cmp_to_key(self._compare_trials))
        for before, trial_id in zip([None, *ordered], ordered, strict=False):
            self._ordered_ids.insert(trial_id, before)
        # Those whose successor has been tried are skipped.
        self._populate_next = [id for id in self.end_order if id in known]

    def _compare_trials(self, one: str, other: str) -> int:
        values = [self.trials[trial_id].hyperparameters.values for trial_id in (one, other)]
        return int(self._compare(*values))
