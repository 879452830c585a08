"""How many workers there are, what each of them gets, and whether the machines have it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from importlib import import_module
from typing import Protocol

import keras

from recdrop_tune.backends import SHARING_GPUS
from recdrop_tune.errors import invalid_argument
from recdrop_tune.errors import is_share as is_share


class Resources(Protocol):
    """What the workers of a search get; `recdrop_tune.Workers` has checked it."""

    @property
    def number(self) -> int:
        """How many train at the same time."""

    @property
    def gpus(self) -> float | None:
        """GPUs of each, also a fraction of one; `None` for an equal share of what there is."""

    @property
    def cpus(self) -> float:
        """CPU cores of each."""

    @property
    def address(self) -> str | None:
        """The Ray cluster; `None` for one on this machine."""

    @property
    def trial_timeout(self) -> float | None:
        """Seconds after which a trial's worker counts as hanging."""


def gpus_of_each(resources: Resources, cluster: Mapping[str, float]) -> float:
    """Returns the GPUs of each worker.

    Args:
        resources: What was asked for.
        cluster: What Ray says the cluster has.

    Raises:
        InvalidArgumentError: The cluster has too few.
    """
    there, asked = cluster.get("GPU", 0.0), resources.gpus
    if asked is None:
        if there < 1:
            return 0.0
        # A share is of one GPU. Rounded down to Ray's precision, so that all of them fit.
        return math.floor(1e4 / math.ceil(resources.number / there)) / 1e4
    if asked > there:
        raise invalid_argument(
            "gpus",
            expected=f"at most the {there:g} GPUs that Ray sees",
            received=asked,
            fix=(
                f"Ray's resources are: {described(cluster)}. If there is a GPU, see that `nvidia-smi` "
                "lists it and that CUDA_VISIBLE_DEVICES does not hide it where Ray was started; with "
                "gpus=0 the trials run on the CPU."
            ),
        )
    return float(asked)


def check_cluster(resources: Resources, cluster: Mapping[str, float]) -> None:
    """Raises if no worker would ever get what it asks for.

    Raises:
        InvalidArgumentError: The cluster has too few CPU cores or GPUs.
    """
    gpus_of_each(resources, cluster)
    there = cluster.get("CPU", 0.0)
    if resources.cpus > there:
        raise invalid_argument(
            "cpus",
            expected=f"at most the {there:g} CPU cores that Ray sees",
            received=resources.cpus,
            fix=f"Ray's resources are: {described(cluster)}.",
        )


def room(resources: Resources, gpus: float, cluster: Mapping[str, float]) -> int:
    """Says for how many of the workers the cluster has room at once."""
    fits = [cluster.get("CPU", 0.0) / resources.cpus]
    there = cluster.get("GPU", 0.0)
    if gpus:
        fits.append(there * int(1 / gpus + 1e-6) if gpus < 1 else there / gpus)
    return min(resources.number, int(min(fits) + 1e-6))


def described(cluster: Mapping[str, float]) -> str:
    """Writes the resources of a cluster, without Ray's own."""
    own = ("node:", "object_store_memory", "accelerator_type:")
    parts = []
    for name, amount in sorted(cluster.items()):
        if name == "memory":
            parts.append(f"{amount / 2**30:.1f} GiB memory")
        elif not name.startswith(own):
            parts.append(f"{amount:g} {name}")
    return ", ".join(parts) or "none"


def worker_environment(backend: str, gpus: float) -> dict[str, str]:
    """Returns the environment variables of a worker.

    Args:
        backend: Keras's backend.
        gpus: How many GPUs it is given. Ray hides them from actors that have asked for some and been given
            others, and not from those that have asked for none.
    """
    hidden = {} if gpus else {"CUDA_VISIBLE_DEVICES": ""}
    log = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2")
    return {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": log, **SHARING_GPUS, **hidden}


_AT_IMPORT = ("MLFLOW_CONFIGURE_LOGGING", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_LOGGING_LEVEL")
"""What MLflow reads while it is imported, which is before a process can be told anything; nothing secret."""


def host_environment(backend: str) -> dict[str, str]:
    """Returns the environment variables that Ray starts the oracle's process with: it sees no GPU.

    Ray writes them to a log that every user of the machine can read, and for a moment to the list of
    processes. Those of MLflow, passwords among them, are given to `OracleHost` itself.
    """
    known = {name: os.environ[name] for name in _AT_IMPORT if name in os.environ}
    return {**known, **worker_environment(backend, gpus=0)}


def mlflow_environment() -> dict[str, str]:
    """Returns the environment variables by which the oracle's process may write to MLflow."""
    return {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}


def limit_threads(cpus: float) -> None:
    """Makes the backend compute with as many threads as the worker has cores.

    Else each of several workers on a machine would start as many threads as that has cores.
    """
    threads, backend = max(1, int(cpus)), keras.backend.backend()
    if backend == "tensorflow":
        tf = import_module("tensorflow")
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    elif backend == "torch":
        import_module("torch").set_num_threads(threads)
