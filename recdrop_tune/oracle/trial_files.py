"""Makes an oracle of Keras Tuner's survive a kill at any moment: whole files, and a state that adds up.

Keras Tuner writes its files in place, one after the other. Killed in the middle it leaves half a file, or
two files that contradict each other: a trial that has ended but counts as under way is run again, one
that was proposed but not noted is never run at all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recdrop_tune.files import delete, write_atomically
from recdrop_tune.oracle import rebuilt
from recdrop_tune.oracle.rebuilt import ENDED, LOST
from recdrop_tune.paths import check_trial_ids


class Resumable:
    """Comes before a `keras_tuner.Oracle` among the bases of a class.

    `_save_trial`, `_get_oracle_fname`, `_get_trial_dir` and `_project_dir` are Keras Tuner's: it has no
    public hook for how its files are written. A test fails if they go.
    """

    trials: dict[str, Any]
    get_state: Any
    _get_oracle_fname: Any
    _get_trial_dir: Any
    _project_dir: str
    end_order: list[str]
    _ended_on_disk: int | None = None

    def save(self) -> None:
        """Saves the oracle's state; so that it survives a power cut, where a trial has ended since."""
        ended, text = len(self.end_order), json.dumps(self.get_state())
        path, durable = self._get_oracle_fname(), ended != self._ended_on_disk
        write_atomically(path, text, within=self._project_dir, durable=durable)
        self._ended_on_disk = ended

    def _save_trial(self, trial: Any) -> None:
        path = Path(self._get_trial_dir(trial.trial_id)) / "trial.json"
        # After a power cut a trial that was under way is trained anew, whatever it had reported.
        text, durable = json.dumps(trial.get_state()), trial.status in ENDED
        write_atomically(path, text, within=self._project_dir, durable=durable)

    def reload(self) -> None:
        """Restores the oracle from its files, and makes anew what is damaged; see `rebuilt.reload`."""
        rebuilt.reload(self, super().reload)  # type: ignore[misc]

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned, mended by what the trials' own files say.

        Raises:
            ProjectError: A trial's file names a path instead of a trial.
        """
        check_trial_ids(self._project_dir, self.trials)
        for id in unnoted(state, self.trials):
            del self.trials[id]
            delete(Path(self._get_trial_dir(id)) / "trial.json", within=self._project_dir)
        super().set_state(settled(state, self.trials))  # type: ignore[misc]


def unnoted(state: dict[str, Any], trials: dict[str, Any]) -> list[str]:
    """Lists the trials that were killed before they were handed out.

    Keras Tuner saves a new trial, then the oracle's state, and then hands the trial out. So a trial that
    the state does not know of was never run, and what led to it (the bracket of Hyperband, the points
    still to be tried) was not noted either: it is proposed anew.

    Args:
        state: The state that was saved last.
        trials: The trials by id.
    """
    noted = set(state["start_order"])
    return [id for id, trial in trials.items() if id not in noted and trial.status not in ENDED]


def settled(state: dict[str, Any], trials: dict[str, Any]) -> dict[str, Any]:
    """Brings an oracle's state into line with its trials.

    Args:
        state: The state that was saved last.
        trials: The trials by id, each saved before the state.

    Returns:
        The state in which every trial that has ended has done so, and every other one is under way or
        waits to be run again.
    """
    ended = {id for id, trial in trials.items() if trial.status in ENDED}
    ongoing = {
        tuner: id
        for tuner, id in state["ongoing_trials"].items()
        if id in trials and id not in ended
    }
    waiting = [id for id in state["retry_queue"] if id in trials and id not in ended]
    lost = sorted(set(trials) - ended - set(ongoing.values()) - set(waiting))
    # Keras Tuner takes three failures in a row there for those of the search.
    counted = {id for id in ended if getattr(trials[id], "message", None) != LOST}
    in_end_order = [id for id in state["end_order"] if id in counted or id not in trials]
    return {
        **state,
        "ongoing_trials": ongoing,
        "retry_queue": [*waiting, *lost],
        "start_order": [*state["start_order"], *sorted(set(trials) - set(state["start_order"]))],
        "end_order": [*in_end_order, *sorted(counted - set(in_end_order))],
    }
