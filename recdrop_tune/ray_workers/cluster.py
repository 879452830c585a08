"""Ray itself: starts or joins a cluster, and puts its errors in words."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from recdrop_tune.credentials import hide_address, scrub
from recdrop_tune.errors import RecdropError
from recdrop_tune.ray_workers.resources import Resources, check_cluster

NAMESPACE = "recdrop-tune"
"""Where the actors have their names in Ray."""

ATTEMPTS = 3
"""How often to try a connection to `ray://` that the head aborts.

The head starts a process for each client, and up to at least Ray 2.60 gRPC stops some of them when they are
forked (ray-project/ray#63202): 7 % there, more on a machine that is busy. The next one is another process.
"""


def import_ray() -> Any:
    """Returns Ray, which is an extra.

    Raises:
        RecdropError: It is not installed.
    """
    try:
        return import_module("ray")
    except ImportError as error:
        raise RecdropError(
            "Several trials at once need Ray, which is not installed. Install it with "
            "`pip install 'recdrop-tune[ray]'`, or leave `workers` out: then the trials run one after "
            "the other in this process."
        ) from error


@contextmanager
def connected(resources: Resources, verbose: int = 1) -> Iterator[Any]:
    """Joins a Ray cluster, or starts one on this machine; yields Ray.

    What was started here ends here. A process that has called `ray.init` itself stays connected.

    Args:
        resources: What the cluster is for.
        verbose: From 2 on, what the workers print is shown.

    Raises:
        RecdropError: Ray is not installed, or there is no cluster at the address.
        InvalidArgumentError: The cluster has not what the workers are to be given.
    """
    ray = import_ray()
    joined = ray.is_initialized()
    if not joined:
        _connect(ray, resources, verbose)
    try:
        check_cluster(resources, ray.cluster_resources())
        yield ray
    finally:
        if not joined:
            ray.shutdown()


def _connect(ray: Any, resources: Resources, verbose: int) -> None:
    # Where a job is submitted to a cluster, Ray says so in the environment.
    address = resources.address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {
        "namespace": NAMESPACE,
        "log_to_driver": verbose > 1,
        "logging_level": logging.ERROR,
    }
    if address is None:
        address = "local"
        # Ray would print a notice of it.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Workers on few cores share them; else they would wait for each other.
        needed = math.ceil(resources.number * resources.cpus)
        options |= {"num_cpus": max(os.cpu_count() or 1, needed), "include_dashboard": False}
    try:
        _initialize(ray, address, options)
    except Exception as error:  # Of a cluster that is not there Ray has several kinds.
        lines = str(error).strip().splitlines() or [""]
        # A first line such as "Initialization failure from server:" has its cause in the last one.
        text = f"{lines[0]} {lines[-1]}" if lines[0].endswith(":") else lines[0]
        shown, said = hide_address(address), scrub(text, address)
        raise RecdropError(
            f"Ray cannot be had at address={shown!r}: {type(error).__name__}: "
            f"{said.rstrip('.')}. Start a cluster with `ray start --head` and pass its "
            "address, or leave `address` out for a Ray of its own on this machine. To a cluster that "
            "wants a token this process has to show one: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN "
            "unless `ray get-auth-token` has it here."
            # What Ray says of an address with a password quotes it.
        ) from (error if shown == address else None)


def _initialize(ray: Any, address: str, options: dict[str, Any]) -> None:
    for attempts_left in reversed(range(ATTEMPTS)):
        try:
            with warnings.catch_warnings():
                # JAX warns of every process that is forked off it; those of Ray run another program at once.
                warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
                ray.init(address=address, **options)
            return
        except Exception as error:
            with suppress(Exception):  # Half a connection would be in the way of the next one.
                ray.shutdown()
            if not (attempts_left and isinstance(error, ConnectionAbortedError)):
                raise


def original(error: BaseException) -> BaseException:
    """Returns what was raised in another process: itself, with a note of where that was."""
    cause = getattr(error, "cause", None)
    if not isinstance(cause, BaseException):
        return error
    cause.add_note(f"It was raised in a process of the search:\n{error}")
    return cause


def on_node(node: str) -> Any:
    """Returns the scheduling strategy of an actor that runs on one node and on no other."""
    strategies = import_module("ray.util.scheduling_strategies")
    return strategies.NodeAffinitySchedulingStrategy(node, soft=False)
