"""Imports on first use, so that a package is quick to import (PEP 562), and quiet imports."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType


def imported_on_use(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Returns a package's `__getattr__`, given the module of each name, relative to the package."""

    def __getattr__(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        # A notebook shows each line on stderr in red.
        load = load_quietly if "ipykernel" in sys.modules else import_module
        value = getattr(load(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return __getattr__


def load_quietly(module: str) -> ModuleType:
    """Imports a module that loads TensorFlow, and shows what is written to stderr only if that fails.

    TensorFlow's libraries write about oneDNN and missing CUDA drivers before any setting of its log applies.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "tensorflow" in sys.modules or sys.stderr is None:  # It is closed after `2>&-`.
        return import_module(module)
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as output:
        os.dup2(output.fileno(), 2)
        try:
            return import_module(module)
        except BaseException:
            output.seek(0)
            os.write(stderr, output.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
