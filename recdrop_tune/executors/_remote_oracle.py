"""What a tuner has in the place of its oracle where the oracle is in another process."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recdrop_tune.files import delete_tree, read_all, write_all
from recdrop_tune.oracle import ended_trial
from recdrop_tune.tracking import TrainingReporter

_IDLE_SECONDS = 0.2
_READ_HERE = ("objective", "max_trials", "allow_new_entries", "tune_new_entries")


class RemoteOracle:
    """Has the methods of Keras Tuner's own client of an oracle elsewhere, and asks the host.

    Args:
        ask: Calls a method of the host and returns its answer; see `OracleHost`.
        tuner_id: Name of the worker.
        oracle: An oracle made like the one elsewhere; what never changes is read from it.
        reporter: Is told whose trainings come next.
        folder_of: Returns the folder of a trial on this machine.
    """

    def __init__(
        self,
        ask: Callable[..., Any],
        tuner_id: str,
        oracle: Any,
        reporter: TrainingReporter,
        folder_of: Callable[[str], str],
    ) -> None:
        self._ask = ask
        self._oracle = oracle
        self._reporter = reporter
        self._folder_of = folder_of
        self._trial: Any = None
        self.tuner_id = tuner_id
        self.multi_worker = False
        self.should_report = True
        self.verbose = 0

    def __getattr__(self, name: str) -> Any:
        if name in _READ_HERE:
            return getattr(self._oracle, name)
        raise AttributeError(
            f"the oracle is in another process, and its `{name}` cannot be had here"
        )

    def get_space(self) -> Any:
        """Returns the space as the oracle knows it."""
        return self._ask("get_space")

    def update_space(self, hyperparameters: Any) -> None:
        """Adds hyperparameters to the space."""
        self._ask("update_space", hyperparameters)

    def create_trial(self, tuner_id: str) -> Any:
        """Asks for the next trial, with the weights that it goes on from."""
        trial = self._ask("create_trial", self.tuner_id)
        if trial.status == "IDLE":  # Keras Tuner's loop asks again at once.
            time.sleep(_IDLE_SECONDS)
        if trial.status == "RUNNING":
            self._trial = trial
            self._reporter.begins(trial.trial_id)
            # Hyperband trains on what another worker may have trained.
            earlier = trial.hyperparameters.values.get("tuner/trial_id")
            if earlier is not None:
                there = self._ask("files_of", earlier)  # First: it refuses an id that is a path.
                folder = Path(self._folder_of(earlier))
                write_all(folder, there, within=folder.parent)
        return trial

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Any:
        """Reports an epoch; the answer's status is `STOPPED` where the trial is to be stopped."""
        sent = {name: float(value) for name, value in metrics.items()}
        answer = copy.copy(self._trial)
        answer.status = self._ask("update_trial", self.tuner_id, trial_id, sent, int(step))
        return answer

    def end_trial(self, trial: Any = None, status: str = "COMPLETED", **old: Any) -> None:
        """Reports the end of a trial, which may be named by its id, and sends its weights."""
        trial = ended_trial(self, trial, status, **old)
        folder = Path(self._folder_of(trial.trial_id))
        self._ask(
            "end_trial", self.tuner_id, trial, read_all(folder, "trial.json", within=folder.parent)
        )
        self._reporter.ends(trial.trial_id)
        delete_tree(folder)

    def get_trial(self, trial_id: str) -> Any:
        """Returns a copy of a trial."""
        return self._ask("get_trial", trial_id)

    def get_best_trials(self, num_trials: int = 1) -> list[Any]:
        """Returns copies of the best trials."""
        return list(self._ask("get_best_trials", num_trials))

    def save(self) -> None:
        """Does nothing: the oracle saves itself."""
