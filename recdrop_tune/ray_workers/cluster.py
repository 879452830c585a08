"""Starts or joins a Ray cluster, and explains Ray's errors."""

from __future__ import annotations

import logging
import math
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from recdrop_tune.errors import RecdropError, exception_line
from recdrop_tune.ray_workers.resources import Resources, check_cluster

NAMESPACE = "recdrop-tune"
"""Ray's namespace for the names of actors."""

_ANSWER_SECONDS = 10.0


def import_ray() -> Any:
    """Returns Ray, which is an optional dependency."""
    try:
        return import_module("ray")
    except ImportError as error:
        raise RecdropError(
            "Several trials at once need Ray. Install it with `pip install 'recdrop-tune[ray]'`, or leave "
            "`workers` out to run the trials one after the other."
        ) from error


@contextmanager
def connected(resources: Resources, verbose: int = 1) -> Iterator[Any]:
    """Joins a Ray cluster, or starts one on this machine, for the block; yields Ray.

    A process that has called `ray.init` itself stays connected. From `verbose` 1 on, it prints that workers
    are started; from 2 on, it shows what they print.
    """
    ray = import_ray()
    joined = ray.is_initialized()
    try:
        if not joined:
            if verbose:
                print(f"Starting Ray, with workers: {resources.number}.", flush=True)
            _connect(ray, resources, verbose)
        check_cluster(resources, ray.cluster_resources())
        yield ray
    finally:
        if not joined:
            ray.shutdown()


def _connect(ray: Any, resources: Resources, verbose: int) -> None:
    # Ray sets this variable for a job that is submitted to a cluster.
    address = resources.address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {
        "namespace": NAMESPACE,
        "log_to_driver": verbose > 1,
        "logging_level": logging.ERROR,
    }
    if address is None:
        address = "local"
        # Ray would print a notice.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # On a machine with few cores, workers share them instead of waiting for each other.
        needed = math.ceil(resources.number * resources.cpus)
        options |= {"num_cpus": max(os.cpu_count() or 1, needed), "include_dashboard": False}
    try:
        host, _, port = address.rpartition(":")
        if host and port.isdecimal():
            # Ray waits ten minutes for an address where nobody answers.
            socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()
        with warnings.catch_warnings():
            # JAX warns of forks, but Ray's run another program at once.
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            ray.init(address=address, **options)
    except Exception as error:  # Ray raises several kinds.
        reason = exception_line(str(error).strip()).rstrip(".")
        raise RecdropError(
            f"Ray cannot connect to address={address!r}: {type(error).__name__}: {reason}. Start a "
            "cluster with `ray start --head` and pass its address, or leave `address` out to start Ray on "
            "this machine. A cluster with token authentication needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN."
        ) from error


def original(error: BaseException) -> BaseException:
    """Returns the exception raised in another process, with its traceback as a note."""
    cause = getattr(error, "cause", None)
    if not isinstance(cause, BaseException):
        return error
    cause.add_note(f"Raised in a process of the search:\n{error}")
    return cause
