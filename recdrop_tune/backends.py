"""Keras's backends: which of them train models, which are installed, and which one this process has.

Keras reads its backend when it is imported, and keeps it. So it is chosen before that: by KERAS_BACKEND, by
`recdrop-tune run --backend`, or by Keras's own file.
"""

from __future__ import annotations

import json
import os
import sys
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


class BackendWarning(UserWarning):
    """A search goes on with another backend than it was begun with: one seed gives other numbers there."""


def installed() -> list[str]:
    """Returns the backends that are installed here, without importing them."""
    specs = {name: find_spec(name) for name in BACKENDS}
    # A folder of that name, as among somebody's experiments, passes for a package without an origin.
    return [name for name, spec in specs.items() if spec is not None and spec.origin is not None]


def chosen() -> str:
    """Returns the backend that Keras has, or will have once it is imported."""
    if "keras" in sys.modules:
        import keras

        return str(keras.backend.backend())
    return os.environ.get(VARIABLE) or _in_file() or BACKENDS[0]


def _in_file() -> str | None:
    """Reads the backend in the file that Keras reads: keras.io/getting_started."""
    home = os.environ.get("KERAS_HOME")
    folder = Path(home) if home else Path("~").expanduser() / ".keras"
    try:
        found = json.loads((folder / "keras.json").read_text()).get("backend")
    except (OSError, ValueError, AttributeError):  # None, or none that Keras would read.
        return None
    return found if isinstance(found, str) else None


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
    if backend not in installed():
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
    if backend not in (*BACKENDS, *_WITHOUT_TRAINING):
        raise _unknown(VARIABLE, backend)
    if backend in BACKENDS and backend not in installed():
        raise _missing(VARIABLE, backend)


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


def _unknown(argument: str, backend: str) -> InvalidArgumentError:
    expected = f"one of {', '.join(BACKENDS)}, with which Keras trains models"
    return invalid_argument(argument, expected=expected, received=backend, fix=_BEFORE)


def _missing(argument: str, backend: str) -> InvalidArgumentError:
    here = installed()
    expected = f"a backend that is installed here ({', '.join(here) or 'none is'})"
    fix = f"Run `{_INSTALL[backend]}`"
    fix += f", or set {VARIABLE}={here[0]} before keras is imported." if here else "."
    return invalid_argument(argument, expected=expected, received=backend, fix=fix)


def _too_late(argument: str, running: str, asked: str) -> InvalidArgumentError:
    expected = f"{running!r}, with which keras was imported in this process and which it keeps"
    return invalid_argument(argument, expected=expected, received=asked, fix=_BEFORE)
