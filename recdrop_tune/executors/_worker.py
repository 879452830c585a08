"""`Worker`: a process that trains, with the ordinary loop of the ordinary tuner."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from recdrop_tune.executors._follow_up import WAIT
from recdrop_tune.executors._job import Job, apply_settings, get_parts
from recdrop_tune.executors._messages import NOT_OPEN
from recdrop_tune.executors._ray import import_ray, original
from recdrop_tune.executors._remote_oracle import RemoteOracle
from recdrop_tune.executors._resources import limit_threads
from recdrop_tune.scratch import ScratchFolder
from recdrop_tune.tracking import Event, TrackedHyperModel, TrainingReporter

_WAIT_SECONDS = 0.5

_SCRATCH = "recdrop-worker-"
"""What the names of workers' folders begin with; a worker removes those of workers that were killed."""


class Worker:
    """Runs trials until the oracle has no more, then what comes after the search.

    Its tuner has a folder of its own, so that workers need not share a file system: weights are sent to
    the oracle's host.

    Args:
        name: Its name, Keras Tuner's `tuner_id`.
        host: Handle of the actor of `OracleHost`.
        job: The search.
        cpus: How many cores it has.
    """

    def __init__(self, name: str, host: Any, job: Job, cpus: float) -> None:
        self._name = name
        self._host = host
        self._job = job
        self._cpus = cpus
        self._ray = import_ray()

    def where(self) -> str:
        """Returns the name of the machine."""
        return socket.gethostname()

    def run(self) -> None:
        """Takes part in the search, until it is over."""
        limit_threads(self._cpus)
        apply_settings(self._job.settings)
        parts = get_parts(self._ray, self._job.parts)
        with ScratchFolder(_SCRATCH) as scratch:
            reporter = TrainingReporter(self._tell)
            tuner = self._make_tuner(parts, scratch.path, reporter)
            args, kwargs = self._job.arguments(parts)
            tuner.search(*args, **kwargs)
            self._follow_up(tuner, parts, (args, kwargs), reporter)

    def _make_tuner(self, parts: Any, scratch: Path, reporter: TrainingReporter) -> Any:
        # Under its own name a tuner finds nothing to go on with in the folder of the search, which the host
        # is writing to at the same time.
        os.environ["KERASTUNER_TUNER_ID"] = self._name
        tuner = self._job.make_tuner(parts, scratch / "project")
        tuner.directory = str(scratch)
        tuner.oracle = RemoteOracle(
            self._ask, self._name, tuner.oracle, reporter, tuner.get_trial_dir
        )
        if tuner.hypermodel is not None:
            tuner.hypermodel = TrackedHyperModel(tuner.hypermodel, reporter)
        return tuner

    def _follow_up(
        self, tuner: Any, parts: Any, arguments: Any, reporter: TrainingReporter
    ) -> None:
        follow_up = self._job.follow_up(parts)
        while (task := self._ask("next_task", self._name)) is not None:
            if task == WAIT:
                time.sleep(_WAIT_SECONDS)
            elif follow_up is not None:
                follow_up.run(tuner, task, arguments, reporter, self._offer)

    def _offer(self, *result: Any) -> None:
        self._ask("keep", self._name, *result)

    def _tell(self, event: Event) -> None:
        # Without waiting for an answer: requests of one worker are served in their order.
        self._host.ask.remote("emit", self._name, event)

    def _ask(self, method: str, *args: Any) -> Any:
        try:
            while (answer := self._ray.get(self._host.ask.remote(method, *args))) == NOT_OPEN:
                time.sleep(_WAIT_SECONDS)
        except self._ray.exceptions.RayTaskError as error:
            raise original(error) from None
        return answer
