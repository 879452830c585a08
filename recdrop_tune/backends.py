"""Keras's backends: which of them train models, which are installed, and which one this process has.

Keras reads its backend when it is imported, and keeps it. So it is chosen before that: by KERAS_BACKEND, by
`recdrop-tune run --backend`, or by Keras's own file.
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

VARIABLE = "KERAS_BACKEND"

_WITHOUT_TRAINING = ("numpy", "openvino")

_INSTALL = {name: f"pip install 'recdrop-tune[{name}]'" for name in ("jax", "torch")}
_INSTALL["tensorflow"] = "pip install 'tensorflow>=2.20'"

_BEFORE = (
    f"Set {VARIABLE} before keras is imported, in the shell or in the first line of the script, "
    "and run it in a process of its own."
)


SHARING_GPUS = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Several processes share a GPU, and TensorFlow and JAX would take all of its memory at the first step."""


def _is_news(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()


@contextmanager
def tracing_expected() -> Iterator[None]:
    """Keeps TensorFlow from its advice to trace less: each structure that a search tries is traced anew."""
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_is_news)
    try:
        yield
    finally:
        logger.removeFilter(_is_news)


class BackendWarning(UserWarning):
    """A search goes on with another backend than it was begun with: one seed gives other numbers there."""


def installed() -> list[str]:
    """Returns the backends that are installed here, without importing them."""
    return [name for name in BACKENDS if _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        spec = find_spec(name)
    except (
        ValueError
    ):  # Something that stands in for it, of somebody's tests perhaps, has been imported.
        return True
    # A folder of that name, as among somebody's experiments, passes for a package without an origin.
    return spec is not None and spec.origin is not None


def chosen() -> str:
    """Returns the backend that Keras has, or will have once it is imported."""
    if "keras" in sys.modules:
        import keras

        return str(keras.backend.backend())
    return os.environ.get(VARIABLE) or _in_file() or BACKENDS[0]


def _file() -> str:
    """Returns the path of Keras's own file, found as Keras finds it: keras.io/getting_started."""
    home = os.path.expanduser("~")  # Which returns `~` where nobody knows the home; pathlib raises.
    usual = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    return os.path.expanduser(os.path.join(os.environ.get("KERAS_HOME", usual), "keras.json"))


def _in_file() -> str | None:
    """Returns the backend that Keras's own file names."""
    try:
        found = json.loads(Path(_file()).read_text(encoding="utf-8"))["backend"]
    except (OSError, ValueError, KeyError, TypeError):  # None, or none that Keras would read.
        return None
    return str(found)


def choose(backend: str) -> None:
    """Makes Keras compute with a backend, here and in processes started from here.

    Args:
        backend: `"tensorflow"`, `"jax"` or `"torch"`.

    Raises:
        InvalidArgumentError: There is no such backend, it is not installed, or Keras has been imported with
            another one.
    """
    if backend not in BACKENDS:
        raise _unknown("backend", backend)
    if "keras" in sys.modules and (running := chosen()) != backend:
        raise _too_late("backend", running, backend)
    if not _is_installed(backend):
        raise _missing("backend", backend)
    os.environ[VARIABLE] = backend


def check_importable() -> None:
    """Raises if Keras cannot be imported for want of its backend.

    Keras itself would keep what it has read of its backend then, and could not be imported any more.

    Raises:
        InvalidArgumentError: The backend that Keras is set to is unknown, or not installed.
    """
    if "keras" in sys.modules:
        return
    backend = chosen()
    where = VARIABLE if os.environ.get(VARIABLE) else f"backend in {_file()}"
    if backend not in (*BACKENDS, *_WITHOUT_TRAINING):
        raise _unknown(where, backend)
    if backend in BACKENDS and not _is_installed(backend):
        raise _missing(where, backend)


def check_training() -> None:
    """Raises unless Keras trains here, with the backend that was asked for.

    Raises:
        InvalidArgumentError: Its backend trains no models, or KERAS_BACKEND was set after Keras was imported.
    """
    running = chosen()
    if running not in BACKENDS:
        raise _unknown(VARIABLE, running)
    asked = os.environ.get(VARIABLE) or running
    if asked != running:
        raise _too_late(VARIABLE, running, asked)


def share_gpus() -> None:
    """Makes this process leave GPU memory to others, unless its backend has begun already."""
    for name, value in SHARING_GPUS.items():
        os.environ.setdefault(name, value)


def _unknown(argument: str, backend: str) -> InvalidArgumentError:
    expected = f"one of {', '.join(BACKENDS)}, with which Keras trains models"
    right = str(backend).strip().lower()
    fix = f"Write {right!r}." if right in BACKENDS else _BEFORE
    return invalid_argument(argument, expected=expected, received=backend, fix=fix)


def _missing(argument: str, backend: str) -> InvalidArgumentError:
    here = installed()
    expected = f"a backend that is installed here ({', '.join(here) or 'none is'})"
    fix = f"Run `{_INSTALL[backend]}`"
    if here and argument == "backend":
        fix += f", or ask for {here[0]}."
    else:
        fix += f", or set {VARIABLE}={here[0]} before keras is imported." if here else "."
    return invalid_argument(argument, expected=expected, received=backend, fix=fix)


def _too_late(argument: str, running: str, asked: str) -> InvalidArgumentError:
    expected = f"{running!r}, with which keras was imported in this process and which it keeps"
    return invalid_argument(argument, expected=expected, received=asked, fix=_BEFORE)
