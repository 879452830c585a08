"""Keras's backends: which of them train models, which are installed, and which one this process uses.

Keras reads its backend when it is imported, and keeps it. So it is chosen before that: by KERAS_BACKEND, by
`recdrop-tune run --backend`, or by Keras's configuration file.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from recdrop_tune.errors import InvalidArgumentError, invalid_argument

BACKENDS = ("tensorflow", "jax", "torch")
"""The backends of Keras that train models."""

_VARIABLE = "KERAS_BACKEND"

_WITHOUT_TRAINING = ("numpy", "openvino")

_INSTALL = {
    "tensorflow": "pip install 'tensorflow>=2.20'",
    "jax": "pip install 'recdrop-tune[jax]'",
    "torch": "pip install 'recdrop-tune[torch]'",
}

_BEFORE = (
    f"Set {_VARIABLE} before keras is imported, in the shell or in the first line of the script, "
    "and run it in a new process."
)

SHARING_GPUS = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Lets several processes share a GPU: TensorFlow and JAX take all of its memory at the first step."""


class BackendWarning(UserWarning):
    """A search continues on another backend, where the same seed gives other numbers."""


@contextmanager
def tracing_expected() -> Iterator[None]:
    """Silences TensorFlow's advice to trace less: each structure that a search tries is traced anew."""
    logger = logging.getLogger("tensorflow")

    def is_news(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger.addFilter(is_news)
    try:
        yield
    finally:
        logger.removeFilter(is_news)


def chosen() -> str:
    """Returns the backend that Keras has, or will have once it is imported."""
    if "keras" in sys.modules:
        import keras

        return str(keras.backend.backend())
    if backend := os.environ.get(_VARIABLE):
        return backend
    try:
        return str(json.loads(_keras_file().read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, LookupError, TypeError, RuntimeError):
        return BACKENDS[0]  # Keras ignores a missing or damaged file too.


def choose(backend: str) -> None:
    """Makes Keras use `"tensorflow"`, `"jax"` or `"torch"`, in this process and in those started from it."""
    if backend in BACKENDS and "keras" in sys.modules and chosen() != backend:
        raise _too_late("backend", backend)
    _check(backend, "backend")
    os.environ[_VARIABLE] = backend


def check_importable() -> None:
    """Raises if Keras's backend is unknown or not installed.

    Keras itself fails halfway through its import then, and cannot be imported again in the same process.
    """
    backend = chosen()
    if "keras" not in sys.modules and backend not in _WITHOUT_TRAINING:
        _check(backend, _VARIABLE if os.environ.get(_VARIABLE) else f"backend in {_keras_file()}")


def check_training() -> None:
    """Raises unless Keras trains here, with the backend that was asked for."""
    running = chosen()
    if running not in BACKENDS:
        raise _unknown(_VARIABLE, running)
    asked = os.environ.get(_VARIABLE) or running
    if asked != running:
        raise _too_late(_VARIABLE, asked)


def share_gpus() -> None:
    """Makes this process leave GPU memory to others, unless its backend has already started."""
    for name, value in SHARING_GPUS.items():
        os.environ.setdefault(name, value)


def _installed() -> list[str]:
    """Returns the installed backends, without importing them."""
    specs = {name: find_spec(name) for name in BACKENDS}
    # A folder of that name, such as one of somebody's experiments, is a package without an origin.
    return [name for name, spec in specs.items() if spec is not None and spec.origin is not None]


def _keras_file() -> Path:
    """Returns Keras's configuration file: keras.io/getting_started."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"


def _check(backend: str, argument: str) -> None:
    if backend not in BACKENDS:
        raise _unknown(argument, backend)
    here = _installed()
    if backend not in here:
        raise invalid_argument(
            argument,
            expected=f"an installed backend ({', '.join(here) or 'none'})",
            received=backend,
            fix=f"Run `{_INSTALL[backend]}`, or set {_VARIABLE} to another one before keras is imported.",
        )


def _unknown(argument: str, backend: str) -> InvalidArgumentError:
    expected = f"one of {', '.join(BACKENDS)}"
    return invalid_argument(argument, expected=expected, received=backend, fix=_BEFORE)


def _too_late(argument: str, asked: str) -> InvalidArgumentError:
    expected = f"{chosen()!r}, the backend of the imported Keras"
    return invalid_argument(argument, expected=expected, received=asked, fix=_BEFORE)
