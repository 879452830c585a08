"""`recdrop-tune doctor`: what it prints for a bug report."""

import re
from importlib.metadata import version

import keras

from tests.commands import output_of


def test_it_prints_versions_devices_and_the_kernel(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    lines = output_of("doctor").splitlines()
    found = dict(re.split(" +", line, maxsplit=1) for line in lines)
    assert list(found) == ["system", "packages", "devices", "kernel"]
    assert f"optuna {version('optuna')}, " in found["packages"]
    assert found["devices"].startswith(f"{keras.backend.backend()} sees ")
    assert found["devices"].endswith("nvidia-smi lists NVIDIA H100")
    assert re.match(r"cuDNN|fused CPU op|step loop", found["kernel"])
