"""`recdrop-tune doctor`: what a bug report needs."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import click

from recdrop_tune.backends import check_importable, check_training
from recdrop_tune.cli.searches import be_quiet
from recdrop_tune.lazy import load_quietly

_PACKAGES = ["recdrop-tune", "tensorflow", "tensorflow-cpu", "tf-nightly", "keras", "keras-nightly"]
_PACKAGES += ["keras-tuner", "optuna", "mlflow", "pandas", "jax", "torch", "ray"]


@click.command()
def doctor() -> None:
    """Prints what a bug report needs: versions, devices, and the kernel that trains an LSTM.

    It runs an LSTM with dropout, and changes nothing.
    """
    be_quiet()
    click.echo(f"system    Python {platform.python_version()}, {platform.platform()}")
    installed = []
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            installed.append(f"{package} {version(package)}")
    click.echo(f"packages  {', '.join(installed)}")
    check_importable()
    load_quietly("recdrop_tune.models")
    check_training()
    import keras
    import numpy as np

    from recdrop_tune.kernels import gpu_in_sight
    from recdrop_tune.models import explain
    from recdrop_tune.wrappers import wrap

    seen = "a GPU" if gpu_in_sight() else "no GPU"
    click.echo(f"devices   {keras.backend.backend()} sees {seen}; nvidia-smi lists {_listed()}")
    layer = wrap(keras.layers.LSTM(8), "recurrent", rate=0.3)
    layer(np.zeros((2, 3, 4), "float32"), training=True)  # Fails if driver and cuDNN do not match.
    (row,) = explain(layer).rows
    click.echo(f"kernel    {row.kernel}{f' ({row.why})' if row.why else ''}")


def _listed() -> str:
    """Returns the machine's GPUs, which a backend without CUDA does not see."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "none"
    return ", ".join(done.stdout.splitlines())
