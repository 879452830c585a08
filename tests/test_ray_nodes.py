"""A cluster of two nodes, one of which leaves: its trial is run again on the other."""

import threading

import pytest
import ray
from ray.cluster_utils import Cluster

from recdrop_tune.tracking import EpochEnded
from tests.ray_searches import (
    Faulty,
    attempts,
    check_agreement,
    losses,
    search,
    some_events,
    wait_for,
)

pytestmark = pytest.mark.heavy


def test_a_node_that_leaves(tmp_path):
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
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
        result = search(folder, Faulty(seconds=1.0), ray_address=cluster.address)
        thread.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert left
    check_agreement(result, trials=6)
    (lost,) = losses(result)
    assert attempts(result)[lost.trial_id] == 2
    assert sorted(attempts(result).values()) == [1, 1, 1, 1, 1, 2]
