"""Starts the processes of a search in Ray, each with its share of the machines and its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from recdrop_tune.errors import ProjectError
from recdrop_tune.executors._host import OracleHost
from recdrop_tune.executors._ray import NAMESPACE, on_node
from recdrop_tune.executors._resources import (
    Resources,
    host_environment,
    mlflow_environment,
    worker_environment,
)
from recdrop_tune.executors._worker import Worker

_RESTARTS = 20
"""How often the oracle's process may die; one that dies whenever it opens the search comes to an end."""


class Processes:
    """Starts actors.

    Args:
        ray: Ray, connected.
        resources: What each worker is given.
        gpus: How many GPUs each worker is given.
    """

    def __init__(self, ray: Any, resources: Resources, gpus: float) -> None:
        self._ray = ray
        self._resources = resources
        self._gpus = gpus
        self._backend = str(keras.backend.backend())

    def host(self, folder: Path, name: str) -> Any:
        """Starts the oracle's process, where this one is: that is where the project folder is.

        Raises:
            ProjectError: There is one for this folder already.
        """
        node = self._ray.get_runtime_context().get_node_id()
        options = self._ray.remote(OracleHost).options(
            name=f"oracle-{name}",
            namespace=NAMESPACE,
            num_cpus=0,
            max_restarts=_RESTARTS,
            max_task_retries=-1,
            scheduling_strategy=on_node(node),
            runtime_env={"env_vars": host_environment(self._backend)},
        )
        try:
            return options.remote(folder, self._resources.trial_timeout, mlflow_environment())
        except ValueError as error:
            raise ProjectError(
                f"Another process is running the search in `{folder}` on this cluster. Wait for it, or "
                "end it; of one that was killed Ray takes half a minute to notice."
            ) from error

    def worker(self, name: str, host: Any, job: Any) -> Any:
        """Starts a worker."""
        cpus = self._resources.cpus_per_trial
        options = self._ray.remote(Worker).options(
            num_cpus=cpus,
            num_gpus=self._gpus,
            max_restarts=0,
            runtime_env={"env_vars": worker_environment(self._backend, self._gpus)},
        )
        return options.remote(name, host, job, cpus)
