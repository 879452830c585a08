"""`recdrop-tune doctor`: checks what a search needs on this machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

import click
from packaging.requirements import Requirement
from packaging.version import Version

from recdrop_tune.backends import check_importable, check_training, chosen
from recdrop_tune.cli.store import be_quick_and_quiet
from recdrop_tune.errors import RecdropError
from recdrop_tune.files import RUNS
from recdrop_tune.lazy import load_quietly

_PACKAGES = (
    "tensorflow",
    "keras",
    "keras-tuner",
    "optuna",
    "mlflow",
    "pandas",
    "jax",
    "torch",
    "ray",
)
_OTHER_NAMES = {"keras": ("keras-nightly",), "tensorflow": ("tensorflow-cpu", "tf-nightly")}
_FREE_BYTES = 2**30


class Check(NamedTuple):
    """The outcome of a check: `ok`, `warn` or `fail`, what was found, and what to do about it."""

    level: str
    text: str
    fix: str = ""


OK, WARN, FAIL = (partial(Check, level) for level in ("ok", "warn", "fail"))


@click.command()
@click.option("--tracking-uri", "uri", help="Database or server for MLflow's runs.")
@click.pass_context
def doctor(context: click.Context, uri: str | None) -> None:
    """Checks what a search needs on this machine.

    Prints a line per check: ok, warn or fail, and what to do. It looks at the versions, the GPU, MLflow's
    store and the current folder. It changes nothing. The exit code is 1 if a check fails.
    """
    be_quick_and_quiet()
    checks: dict[str, Callable[[], Check]] = {
        "packages": packages,
        "gpu": gpu,
        "mlflow": partial(mlflow, uri),
        "folder": folder,
    }
    levels = []
    for name, check in checks.items():
        try:
            outcome = check()
        except RecdropError as error:
            outcome = FAIL(str(error))
        except Exception as error:
            outcome = FAIL(f"{type(error).__name__}: {error}")
        levels.append(outcome.level)
        color = {"ok": "green", "warn": "yellow", "fail": "red"}[outcome.level]
        text = f"{outcome.text.rstrip('.')}. {outcome.fix}" if outcome.fix else outcome.text
        level = click.style(f"{outcome.level:<4}", fg=color)
        click.echo(f"{level}  {name:<10}  {' '.join(text.split())}")
    if "fail" in levels:
        context.exit(1)


def packages() -> Check:
    """Compares versions with the oldest ones required."""
    requirements = map(Requirement, requires("recdrop-tune") or ())
    least = {each.name: spec.version for each in requirements for spec in each.specifier}
    optional = {"tensorflow", "jax", "torch", "ray"} - {chosen()}
    versions = {
        package: version
        for package in _PACKAGES
        if (version := _version(package)) or package not in optional
    }
    old = [
        f"'{name}>={least[name]}'"
        for name, version in versions.items()
        if name in least
        and name not in optional
        # A candidate for 2.21 counts as 2.21.
        and (version is None or Version(version).release < Version(least[name]).release)
    ]
    text = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    text = f"recdrop-tune {_version('recdrop-tune')}, Python {platform.python_version()}, {text}"
    return FAIL(text, f"Run `pip install {' '.join(old)}`.") if old else OK(text)


def gpu() -> Check:
    """Runs an LSTM on cuDNN, or warns if Keras's backend does not see this machine's GPU."""
    check_importable()
    load_quietly("recdrop_tune.kernels")
    check_training()
    import keras
    import numpy as np

    from recdrop_tune.kernels import gpu_in_sight

    backend = keras.backend.backend()
    if not gpu_in_sight():
        command, listed = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], ""
        with suppress(FileNotFoundError):
            process = subprocess.run(command, capture_output=True, text=True, timeout=20)
            listed = "" if process.returncode else ", ".join(process.stdout.splitlines())
        if not listed:
            return OK(f"{backend} sees none; searches run on the CPU")
        fix = f"Install a {backend} with CUDA, such as `pip install 'recdrop-tune[gpu]'`."
        if (hidden := os.environ.get("CUDA_VISIBLE_DEVICES")) in ("", "-1"):
            fix = f"CUDA_VISIBLE_DEVICES={hidden!r} hides it: unset that."
        return WARN(f"{backend} sees none; this machine has {listed}", fix)
    try:
        keras.layers.LSTM(8, use_cudnn=True)(np.zeros((2, 3, 4), "float32"), training=True)
    except Exception as error:
        fix = "The GPU's driver, CUDA and cuDNN have to suit the backend."
        return FAIL(f"{backend} sees a GPU, but cannot use cuDNN: {error}", fix)
    return OK(f"{backend} sees a GPU, and an LSTM runs on cuDNN")


def mlflow(uri: str | None) -> Check:
    """Checks whether MLflow's store answers. MLflow would create or migrate the tables of a database."""
    from recdrop_tune.addresses import is_server, resolve_uri, sqlite_path
    from recdrop_tune.credentials import hide

    uri = resolve_uri(uri)
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        return OK(f"{path} does not exist yet: the first search creates it")
    load_quietly("recdrop_tune.mlflow_store")
    from recdrop_tune.mlflow_store import prepare, reason

    try:
        if is_server(uri):
            from mlflow.tracking import MlflowClient

            prepare(uri)
            MlflowClient(uri).search_experiments(max_results=1)
        else:
            import sqlalchemy

            engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
            if not sqlalchemy.inspect(engine).has_table("experiments"):
                return OK(f"{hide(uri)} answers; the first search creates its tables")
    except Exception as failure:
        fix = "A search also runs without it, and `recdrop-tune sync` writes its runs later."
        return FAIL(f"{hide(uri)}: {reason(failure, uri)}", fix)
    return OK(f"{hide(uri)} answers")


def folder() -> Check:
    """Looks whether a search can have its project folder here."""
    place = Path(RUNS).resolve()
    existing = next(path for path in (place, *place.parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        return FAIL(f"{place} cannot be written to: {error}", "Give searches another `directory`.")
    free = shutil.disk_usage(existing).free
    text = f"{place} can be written to, {free / 2**30:.1f} GiB free"
    return WARN(text, "Make room.") if free < _FREE_BYTES else OK(text)


def _version(name: str) -> str | None:
    for package in (name, *_OTHER_NAMES.get(name, ())):
        with suppress(PackageNotFoundError):
            return version(package)
    return None
