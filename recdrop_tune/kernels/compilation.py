"""Caches what JAX compiles for later processes: a resumed search, a worker, the next search.

JAX compiles each model in each process, which takes several seconds on a CPU: longer than a short training.
TensorFlow and torch compile only on request. JAX's keys include the processor's instruction sets, so machines
can share a folder.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import keras

_LARGEST = 2**26
"""Bytes of the cache. JAX deletes the least recently used programs first; one has 1 to 30 kB on a CPU.

JAX lists the whole folder for each program that it adds, which takes 0.2 s when the folder is full.
"""


@contextlib.contextmanager
def compilations_kept(where: bool | Path) -> Iterator[None]:
    """Caches what JAX compiles inside the block, in a folder or with `True` in the user's cache.

    Anybody who can write to the folder can make this process run code, so it must belong to the user. Does
    nothing on other backends, inside another such block, and if the user has set a folder
    (`JAX_COMPILATION_CACHE_DIR`).
    """
    # The environment of a type checker does not need JAX.
    jax = import_module("jax") if where and keras.backend.backend() == "jax" else None
    if jax is None or jax.config.jax_compilation_cache_dir is not None:
        yield
        return
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = where if isinstance(where, Path) else Path(caches, "recdrop-tune", "jax")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # Such as a user without a home folder.
        warnings.warn(f"What JAX compiles is not cached: {error}", stacklevel=3)
        yield
        return
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_compilation_cache_max_size": _LARGEST,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    _set(jax, settings)
    try:
        yield
    finally:
        _set(jax, before)


def _set(jax: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        jax.config.update(name, value)
    # JAX reads the settings only once.
    import_module("jax.experimental.compilation_cache.compilation_cache").reset_cache()
