"""What each worker gets, and whether the cluster has it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import keras

from recdrop_tune.backends import SHARING_GPUS
from recdrop_tune.errors import invalid_argument

Resources = Any
"""The resources of the workers: a `recdrop_tune.Workers`, from `search`, which imports this folder."""


def gpus_of_each(resources: Resources, cluster: Mapping[str, float]) -> float:
    """Returns the GPUs of each worker; `cluster` are the cluster's resources, from Ray."""
    total = cluster.get("GPU", 0.0)
    if resources.gpus is not None:
        return float(resources.gpus)
    if total < 1:
        return 0.0
    workers: int = resources.number
    # A share is of one GPU. Rounded down to Ray's precision, so that all of them fit.
    return math.floor(1e4 / math.ceil(workers / total)) / 1e4


def check_cluster(resources: Resources, cluster: Mapping[str, float]) -> None:
    """Raises if no worker would ever get its resources: Ray waits forever."""
    for name, key, unit, wanted in (
        ("gpus", "GPU", "GPUs", resources.gpus or 0),
        ("cpus", "CPU", "CPU cores", resources.cpus),
    ):
        total = cluster.get(key, 0.0)
        if wanted > total:
            raise invalid_argument(
                name,
                expected=f"at most the {total:g} {unit} that Ray sees",
                received=wanted,
                fix=f"Ray's resources are: {format_resources(cluster)}.",
            )


def format_resources(cluster: Mapping[str, float]) -> str:
    """Writes the CPUs, GPUs and other resources of a cluster, without Ray's internal ones."""
    own = ("node:", "object_store_memory", "accelerator_type:", "memory")
    shown = {name: n for name, n in sorted(cluster.items()) if not name.startswith(own)}
    return ", ".join(f"{n:g} {name}" for name, n in shown.items()) or "none"


def worker_environment(backend: str, gpus: float) -> dict[str, str]:
    """Returns the environment variables of a worker with a number of GPUs.

    Ray hides the other GPUs from actors that have some, but not from actors that have none.
    """
    hidden = {} if gpus else {"CUDA_VISIBLE_DEVICES": ""}
    log = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2")
    return {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": log, **SHARING_GPUS, **hidden}


_AT_IMPORT = ("MLFLOW_CONFIGURE_LOGGING", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_LOGGING_LEVEL")
"""Variables that MLflow reads while it is imported. None is secret."""


def host_environment(backend: str) -> dict[str, str]:
    """Returns the environment variables for the oracle's process, which sees no GPU.

    Ray writes them to a log that every user of the machine can read. Those of MLflow, which include
    passwords, are passed to `OracleHost` itself.
    """
    variables = {name: os.environ[name] for name in _AT_IMPORT if name in os.environ}
    return {**variables, **worker_environment(backend, gpus=0)}


def limit_threads(cpus: float) -> None:
    """Limits the threads of TensorFlow or PyTorch to the worker's cores, instead of all of the machine's."""
    threads, backend = max(1, int(cpus)), keras.backend.backend()
    if backend == "tensorflow":
        tf = import_module("tensorflow")
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    elif backend == "torch":
        import_module("torch").set_num_threads(threads)
