"""One Ray for the tests of a module: `tune` uses the one that the process is connected to."""

import pytest


@pytest.fixture(scope="module")
def local_ray():
    import ray  # Not for all backends.

    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
