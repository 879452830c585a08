"""Wrappers under `tf.distribute.MirroredStrategy`: see `mirrored_strategy.py`, which runs here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.heavy
def test_on_two_replicas():
    cases = Path(__file__).with_name("mirrored_strategy.py")
    environment = {**os.environ, "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(cases)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=cases.parent.parent, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
