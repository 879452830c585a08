"""A process that trains trials, with the tuner's own loop."""

from __future__ import annotations

import copy
import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from keras_tuner.engine.trial import Trial, TrialStatus

from recdrop_tune.events import Event
from recdrop_tune.files import read_all, scratch_folder, write_all
from recdrop_tune.hypermodels import extended
from recdrop_tune.kernels import compilations_kept
from recdrop_tune.ray_workers.cluster import import_ray, original
from recdrop_tune.ray_workers.job import WAIT, FollowUp, Job, Parcel
from recdrop_tune.ray_workers.resources import limit_threads
from recdrop_tune.tuner import SNAPSHOT, ReportsEpochs, TrainingReporter, Tuner

_READ_HERE = ("objective", "max_trials", "allow_new_entries", "tune_new_entries")
_ASKED = ("get_space", "update_space", "get_trial", "get_best_trials")


class RemoteOracle:
    """Stands in for the oracle in a worker: it asks the host.

    `ask` calls a method of the host and returns its answer. `oracle` is made like the host's, for the
    attributes that never change. `folder_of` returns the folder of a trial on this machine.
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

    def __getattr__(self, name: str) -> Any:
        if name in _READ_HERE:
            return getattr(self._oracle, name)
        if name in _ASKED:
            return partial(self._ask, "ask_oracle", name)
        raise AttributeError(
            f"the oracle is in another process, and its `{name}` is not available here"
        )

    def create_trial(self, tuner_id: str) -> Any:
        """Asks for the next trial, and for what a lost worker has left of it."""
        trial = self._ask("create_trial", self.tuner_id)
        if trial.status == TrialStatus.RUNNING:
            self._trial = trial
            write_all(self._folder_of(trial.trial_id), self._ask("snapshot", trial.trial_id))
            self._reporter.begins(trial.trial_id)
        return trial

    def send_snapshot(self, trial_id: str) -> None:
        """Sends what another worker would continue with."""
        content = Path(self._folder_of(trial_id), SNAPSHOT).read_bytes()
        self._ask("keep_snapshot", self.tuner_id, trial_id, content)

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Any:
        """Reports an epoch; the status of the returned trial is `STOPPED` if it must stop."""
        sent = {name: float(value) for name, value in metrics.items()}
        answer = copy.copy(self._trial)
        answer.status = self._ask("update_trial", self.tuner_id, trial_id, sent, int(step))
        return answer

    def end_trial(self, trial: Trial) -> None:
        """Reports the end of a trial, and sends its weights."""
        folder = Path(self._folder_of(trial.trial_id))
        (folder / SNAPSHOT).unlink(missing_ok=True)
        self._ask("end_trial", self.tuner_id, trial, read_all(folder, "trial.json"))
        self._reporter.ends(trial.trial_id)
        shutil.rmtree(folder, ignore_errors=True)

    def forget_metrics(self, trial_id: str) -> None:
        """Takes back what was reported of a trial."""
        self._ask("forget_metrics", self.tuner_id, trial_id)


_WAIT_SECONDS = 0.5

_SCRATCH = "recdrop-worker-"
"""The prefix of workers' folders; a worker removes those of killed workers."""


class Worker:
    """Runs trials until the oracle has no more, then the tasks that follow the search.

    Its name is Keras Tuner's `tuner_id`. Its tuner has its own folder and sends the weights to the host, so
    workers need no shared file system.
    """

    def __init__(self, name: str, host: Any, parcel: Parcel, cpus: float) -> None:
        self._name = name
        self._host = host
        self._parcel = parcel
        self._cpus = cpus
        self._ray = import_ray()

    def where(self) -> str:
        """Returns the name of the machine."""
        return socket.gethostname()

    def run(self) -> None:
        """Works for the search until it is over."""
        limit_threads(self._cpus)
        job = self._parcel.unpacked(self._ray)
        with scratch_folder(_SCRATCH) as scratch, compilations_kept(job.compilation_cache):
            reporter = TrainingReporter(self._tell)
            tuner = self._new_tuner(job, scratch, reporter)
            args, kwargs = job.arguments()
            tuner.search(*args, **kwargs)
            self._run_tasks(job.follow_up(), tuner, (args, kwargs), reporter)

    def _new_tuner(self, job: Job, scratch: Path, reporter: TrainingReporter) -> Any:
        # The host writes to the project folder. Under this name, the tuner finds nothing there to resume.
        os.environ["KERASTUNER_TUNER_ID"] = self._name
        tuner = job.new_tuner(scratch / "project")
        tuner.directory = str(scratch)
        tuner.oracle = RemoteOracle(
            self._ask, self._name, tuner.oracle, reporter, tuner.get_trial_dir
        )
        tuner.on_save = tuner.oracle.send_snapshot
        if tuner.hypermodel is not None:
            tuner.hypermodel = extended(tuner.hypermodel, ReportsEpochs(reporter))
        return tuner

    def _run_tasks(
        self, follow_up: FollowUp | None, tuner: Tuner, arguments: Any, reporter: TrainingReporter
    ) -> None:
        offer = partial(self._ask, "keep", self._name)
        while (task := self._ask("next_task", self._name)) is not None:
            if task == WAIT:
                time.sleep(_WAIT_SECONDS)
            elif follow_up is not None:
                follow_up.run(tuner, task, arguments, reporter, offer)

    def _tell(self, event: Event) -> None:
        # Without waiting for an answer: requests of one worker are served in order.
        self._host.emit.remote(self._name, event)

    def _ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._ray.get(getattr(self._host, method).remote(*args, **kwargs))
        except self._ray.exceptions.RayTaskError as error:
            raise original(error) from None
