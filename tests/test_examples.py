"""Every example runs as a user runs it, at a tiny size, from an empty folder, and prints what it promises."""

import os
import subprocess
import sys

import pytest

from tests.pages import ROOT

EXAMPLES = ROOT / "examples"

TINY = {
    "existing_keras_tuner.py": None,  # tests/test_keras_tuner_workflows.py
    "quickstart.py": None,  # .ci/run, with the wheel
    "ray_cluster.py": None,  # tests/test_ray.py
}
"""The arguments that make an example small; None where another test runs it, named beside it."""


def ran(script, folder, *arguments):
    """Runs an example in a folder and returns what it printed."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, EXAMPLES / script, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(TINY)


@pytest.mark.parametrize("script", TINY)
def test_each_example_says_how_long_it_takes(script):
    text = (EXAMPLES / script).read_text(encoding="utf-8")
    assert "Takes " in text
    assert f"python examples/{script}" in text
    assert f"`{script}`" in (ROOT / "README.md").read_text(encoding="utf-8")
