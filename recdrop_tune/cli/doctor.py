"""`recdrop-tune doctor`: what of this machine a search would use, and what is in its way."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import click
from packaging.requirements import Requirement
from packaging.version import Version

from recdrop_tune.backends import BACKENDS, check_importable, check_training, chosen, share_gpus
from recdrop_tune.cli.backend_times import BackendTimes
from recdrop_tune.cli.store import (
    FAIL,
    OK,
    WARN,
    Check,
    be_quick_and_quiet,
    load_quietly,
    mlflow_store,
    why_not_writable,
)
from recdrop_tune.errors import RecdropError
from recdrop_tune.files import RUNS

_COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}


@click.command()
@click.option("--tracking-uri", "uri", help="Database or server for MLflow's runs.")
@click.option("--no-timing", is_flag=True, help="Leave out the timing of training steps.")
@click.option(
    "--size",
    type=click.Tuple([click.IntRange(min=1)] * 4),
    default=(32, 50, 12, 32),
    show_default=True,
    metavar="BATCH STEPS FEATURES UNITS",
    help="What is timed.",
)
@click.pass_context
def doctor(
    context: click.Context, uri: str | None, no_timing: bool, size: tuple[int, int, int, int]
) -> None:
    """Checks what a search needs on this machine.

    A line a check: ok, warn or fail, and what to do. Looks at the versions, the GPUs, cuDNN, the store of
    MLflow's runs, Ray and the current folder, and times training steps on each of Keras's backends that is
    installed. Nothing is changed or made. The exit code is 1 if a check fails.
    """
    be_quick_and_quiet()
    share_gpus()  # Each backend is timed by a process of its own, beside this one.
    failed = False
    for name, check in _checks(uri, None if no_timing else BackendTimes(size)).items():
        with _announced(name):
            result = _outcome(check)
        failed = failed or result.level == FAIL
        level = click.style(f"{result.level:<4}", fg=_COLOURS[result.level])
        click.echo(f"{level}  {name:<10}  {result.line()}")
    if failed:
        context.exit(1)


@contextmanager
def _announced(name: str) -> Iterator[None]:
    """Says on a terminal which backend is being timed: it takes some seconds."""
    if name not in BACKENDS or sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    said = f"      {name:<10}  is being timed ..."
    click.echo(f"{said}\r", nl=False, err=True)
    yield
    click.echo(f"{' ' * len(said)}\r", nl=False, err=True)


def _outcome(check: Callable[[], Check]) -> Check:
    """Runs a check; one that breaks is a failure like any other."""
    try:
        return check()
    except RecdropError as error:
        return Check(FAIL, str(error))
    except Exception as error:
        fix = "Reinstall the package that the error comes from; if that does not help, report it."
        if isinstance(error, ModuleNotFoundError):
            fix = (
                f"Install `{error.name}`, or set KERAS_BACKEND to another backend if it names that"
            )
            here = [each for each in BACKENDS if _version(each) is not None]
            fix += f"; installed here: {', '.join(here)}." if here else "."
        return Check(FAIL, f"This could not be checked: {type(error).__name__}: {error}", fix)


def _checks(uri: str | None, times: BackendTimes | None) -> dict[str, Callable[[], Check]]:
    found: dict[str, Callable[[], Check]] = {
        "python": python,
        "packages": packages,
        "gpu": gpus,
        "cudnn": cudnn,
    }
    if times is not None:
        here = [each for each in BACKENDS if _version(each) is not None]
        found |= {backend: partial(times.timed, backend) for backend in here}
        found["fastest"] = times.fastest
    return found | {"mlflow": partial(mlflow_store, uri), "ray": ray, "folder": folder}


# The checks of this machine.

_PACKAGES = ("tensorflow", "keras", "keras-tuner", "optuna", "mlflow", "pandas")
_ALSO_CALLED = {"keras": ("keras-nightly",), "tensorflow": ("tensorflow-cpu", "tf-nightly")}
_TESTED = {
    "tensorflow": "2.21",
    "keras": "3.16",
    "keras-tuner": "1.4",
    "optuna": "5.0",
    "mlflow": "3.17",
    "pandas": "3.1",
    "jax": "0.10",
    "torch": "2.13",
}
"""The newest releases that CI has run with."""
_LITTLE = 2**30


def python() -> Check:
    """Tells the version of Python."""
    return Check(OK, f"{platform.python_version()} on {platform.platform()}")


def packages() -> Check:
    """Compares the versions of what a search runs on with what this package asks for.

    TensorFlow may be missing where Keras runs on jax or torch.
    """
    backend = chosen()
    others = [each for each in BACKENDS[1:] if _version(each) is not None]
    found = {name: _version(name) for name in ("recdrop-tune", *_PACKAGES)}
    found |= {name: _version(name) for name in others}
    old = {
        name: f"'{name}>={least}'"
        for name, least in _least().items()
        if name in found and _older(found[name], least)
    }
    if found["tensorflow"] is None and backend in others:
        old.pop("tensorflow", None)
    text = ", ".join(f"{name} {known or 'missing'}" for name, known in found.items())
    untested = {
        name: f"'{name}=={newest}.*'"
        for name, newest in _TESTED.items()
        if (known := found.get(name)) and Version(known).release[:2] > Version(newest).release
    }
    # Unused backends are ignored.
    wrong = {name: least for name, least in old.items() if name not in set(others) - {backend}}
    if not old and untested:
        newer = ", ".join(untested)
        fix = f"If something fails, run `pip install {' '.join(untested.values())}`."
        return Check(WARN, f"{text}; newer than what was tested: {newer}", fix)
    if not old:
        return Check(OK, text)
    if not wrong:
        fix = f"Before Keras is set to it, run `pip install {' '.join(old.values())}`."
        return Check(WARN, text, fix)
    fix = f"Run `pip install {' '.join(wrong.values())}`."
    if "tensorflow" in wrong and others:
        fix += f" Or set KERAS_BACKEND={others[0]}."
    return Check(FAIL, text, fix)


def gpus() -> Check:
    """Tells the GPUs that Keras's backend sees."""
    check_importable()
    load_quietly("keras")
    import keras

    backend = keras.backend.backend()
    check_training()
    name, seen = _LIBRARIES[backend]
    number = len(names := seen())
    said = [f"{name} sees {', '.join(names) if names else 'none'}"]
    here = _installed_gpus()
    if number or not here:
        rest = [] if number else ["searches run on the CPU"]
        return Check(OK, "; ".join([*said, *rest]))
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    fix = "Run `pip install 'recdrop-tune[gpu]'`, which brings TensorFlow's CUDA libraries."
    if hidden is not None and not re.match(r"\s*(\d|GPU-|MIG-)", hidden):
        fix = f"CUDA_VISIBLE_DEVICES={hidden!r} hides it: unset that."
    elif backend != "tensorflow":
        fix = f"Install a {backend} that was built for CUDA."
    return Check(WARN, "; ".join([*said, f"this machine has {here}"]), fix)


def cudnn() -> Check:
    """Runs an LSTM and a GRU on cuDNN, if Keras's backend would."""
    check_importable()
    load_quietly("recdrop_tune.kernels")
    import keras

    from recdrop_tune.kernels import gpu_in_sight

    backend = keras.backend.backend()
    if not gpu_in_sight():
        how = "step by step" if backend == "jax" else "in fused CPU ops or step by step"
        return Check(OK, f"not used, for Keras's {backend} backend sees no GPU: layers train {how}")
    # Keras's jax backend has no GRU on cuDNN.
    kinds = [keras.layers.LSTM] if backend == "jax" else [keras.layers.LSTM, keras.layers.GRU]
    failures = {kind.__name__: why for kind in kinds if (why := cudnn_failure(kind))}
    if failures:
        text = "; ".join(f"{name}: {why}" for name, why in failures.items())
        fix = "The versions of the GPU's driver, CUDA and cuDNN have to suit the backend: run "
        fix += "`pip install 'recdrop-tune[gpu]'` in a fresh environment."
        return Check(FAIL, f"Keras's {backend} backend cannot use cuDNN: {text}", fix)
    names = " and ".join(kind.__name__ for kind in kinds)
    rest = "; a GRU, and half precision, run step by step" if backend == "jax" else ""
    return Check(OK, f"{names} run on cuDNN, from Keras's {backend} backend{rest}")


def cudnn_failure(kind: Callable[..., Any]) -> str:
    """Says why a layer, `keras.layers.LSTM` or `GRU`, cannot run on cuDNN; nothing if it can."""
    import numpy as np

    try:
        kind(8, use_cudnn=True)(np.zeros((2, 3, 4), "float32"), training=True)
    except Exception as error:
        said = re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()
        # Keras puts a line of its own in front, and the layer's arguments behind.
        lines = [line for line in said if line and not line.startswith("Exception encountered")]
        return f"{type(error).__name__}: {lines[0] if lines else said}"
    return ""


def ray() -> Check:
    """Tells whether many trials can run at once."""
    found, least = _version("ray"), _least().get("ray", "0")
    command = "`pip install 'recdrop-tune[ray]'`"
    if found is None:
        return Check(OK, f"not installed; only `workers` needs it: {command}")
    if _older(found, least):
        return Check(WARN, f"{found}; `workers` needs {least}", f"Run {command}.")
    return Check(OK, found)


def folder() -> Check:
    """Tries whether a search could have its project folder here."""
    place = Path(RUNS).resolve()
    fix = "Call this in another folder, or give searches another `directory`."
    if why := why_not_writable(place):
        return Check(FAIL, f"{place} cannot be written to: {why}", fix)
    there = next(path for path in (place, *place.parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"{place} can be written to, {free / 2**30:.1f} GiB free"
    return Check(WARN, text, f"Make room. {fix}") if free < _LITTLE else Check(OK, text)


def _installed_gpus() -> str:
    """The NVIDIA GPUs that the driver knows, in words; nothing without one."""
    if shutil.which("nvidia-smi") is None:
        return ""
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    names = re.findall(r"^GPU \d+: (.*?)(?: \(UUID|$)", done.stdout, re.M)
    return ", ".join(names) if done.returncode == 0 else ""


def _tensorflow_gpus() -> list[str]:
    load_quietly("tensorflow")
    config = import_module("tensorflow").config
    details = config.experimental.get_device_details
    seen = config.list_physical_devices("GPU")
    return [details(gpu).get("device_name", gpu.name) for gpu in seen]


def _jax_gpus() -> list[str]:
    devices = import_module("jax").devices()
    return [str(device.device_kind) for device in devices if device.platform == "gpu"]


def _torch_gpus() -> list[str]:
    cuda = import_module("torch").cuda
    return [str(cuda.get_device_name(number)) for number in range(cuda.device_count())]


_LIBRARIES: dict[str, tuple[str, Callable[[], list[str]]]] = {
    "tensorflow": ("TensorFlow", _tensorflow_gpus),
    "jax": ("JAX", _jax_gpus),
    "torch": ("PyTorch", _torch_gpus),
}


def _version(name: str) -> str | None:
    for each in (name, *_ALSO_CALLED.get(name, ())):
        try:
            return version(each)
        except PackageNotFoundError:
            continue
    return None


def _least() -> dict[str, str]:
    """The oldest versions that this package asks for, by package."""
    asked = map(Requirement, requires("recdrop-tune") or ())
    return {each.name: least.version for each in asked for least in each.specifier}


def _older(found: str | None, least: str) -> bool:
    """Says whether a version is missing or too old; a candidate for 2.21 counts as 2.21."""
    return found is None or Version(found).release < Version(least).release
