"""Describes the machine a benchmark ran on, for its JSON."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import keras


def describe() -> dict:
    """Returns the processor, the accelerator, and the versions that matter."""
    return {
        "processor": _processor(),
        "cores": _cores(),
        "accelerator": _accelerator(),
        "python": platform.python_version(),
        "backend": keras.backend.backend(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


PACKAGES = ("recdrop-tune", "keras", "tensorflow", "tensorflow-cpu", "jax", "torch", "numpy")


def _cores():
    """Returns how many cores this process may use: `taskset` may have left it fewer than there are."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count()


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor():
    try:
        with open("/proc/cpuinfo") as lines:
            return next(
                line.split(":")[1].strip() for line in lines if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _accelerator():
    """Name of the first GPU that the backend of Keras sees, or `None`."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    if backend == "jax":
        import jax

        return jax.devices()[0].device_kind if jax.default_backend() == "gpu" else None
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name") if gpus else None
