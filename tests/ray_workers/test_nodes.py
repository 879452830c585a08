"""Existing clusters: a node that leaves, and a driver that joins by the address of the head."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

import recdrop_tune as rdt
from recdrop_tune.events import EpochEnded
from tests import ROOT
from tests.forks import wait_for
from tests.mlflow_server import answers, free_port
from tests.ray_searches import (
    Faulty,
    attempts,
    check_agreement,
    losses,
    search,
    some_events,
)

pytestmark = pytest.mark.heavy


def test_a_node_that_leaves(tmp_path):
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    leaving, folder, left = cluster.add_node(num_cpus=1), tmp_path / "project", []

    def leave():
        def trained():
            return {event.trial_id for event in some_events(folder, EpochEnded, 2)}

        wait_for(lambda: len(trained()) > 1)  # On both nodes.
        cluster.remove_node(leaving, allow_graceful=False)
        left.append(True)

    thread = threading.Thread(target=leave)
    try:
        thread.start()
        workers = rdt.Workers(2, address=cluster.address)
        result = search(folder, Faulty(seconds=1.0), workers=workers)
        thread.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert left
    check_agreement(result, trials=6)
    (lost,) = losses(result)
    assert attempts(folder)[lost.trial_id] == 2
    assert sorted(attempts(folder).values()) == [1, 1, 1, 1, 1, 2]


JOINING = """
import os
for name in [*os.environ]:
    if name.startswith("RAY_"):  # Other searches may have set it.
        del os.environ[name]
os.environ.update({environment!r})
from pathlib import Path
import ray
import recdrop_tune as rdt
from tests.ray_searches import Faulty, check_agreement, search

workers = rdt.Workers(1, address={address!r})
result = search(Path({folder!r}), Faulty(), workers=workers, max_trials=2)
check_agreement(result, trials=2)
assert not ray.is_initialized()
"""


def test_a_driver_that_joins_a_cluster(tmp_path, forks):
    """The cluster was started by `ray start` and asks for a token."""
    settings = {"RAY_AUTH_MODE": "token", "RAY_worker_niceness": "0"}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    clean |= {**settings, "PYTHONPATH": str(ROOT)}
    port, log = free_port(), tmp_path / "log"
    head = ["start", "--head", "--block", "--num-cpus=2", "--include-dashboard=false"]
    head += ["--node-ip-address=127.0.0.1", f"--port={port}"]
    ray_command = str(Path(sys.executable).with_name("ray"))
    subprocess.run([ray_command, "get-auth-token", "--generate"], check=True, capture_output=True)
    with (tmp_path / "cluster").open("w") as output:
        cluster = subprocess.Popen(
            [ray_command, *head], stdout=output, stderr=output, cwd=ROOT, env=clean
        )
    try:
        wait_for(lambda: answers(port))
        place = {"address": f"127.0.0.1:{port}", "folder": str(tmp_path / "project")}
        code = JOINING.format(environment=settings, **place)
        assert forks.wait(forks.start({"code": code, "log": str(log)})) == 0, log.read_text()
    finally:
        cluster.terminate()
        cluster.wait(60)
