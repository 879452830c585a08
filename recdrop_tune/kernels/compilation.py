"""Caches what JAX compiles for later processes: a resumed search, a worker, the next search.

JAX compiles each model in each process, which takes several seconds on a CPU: longer than a short training.
TensorFlow and torch compile only on request.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
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
    """Caches what JAX compiles inside the block, and uses what was cached before.

    Does nothing on other backends, inside another such block, and if the user has set a folder
    (`JAX_COMPILATION_CACHE_DIR`).

    Args:
        where: A folder, or whether to use the user's cache folder. Anybody who can write to it can make this
            process run code, so it must belong to the user.
    """
    # The environment of a type checker does not need JAX.
    jax = import_module("jax") if where and keras.backend.backend() == "jax" else None
    if jax is None or jax.config.jax_compilation_cache_dir is not None:
        yield
        return
    try:
        folder = _make_folder(where if isinstance(where, Path) else _user_folder())
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


def _user_folder() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches, "recdrop-tune", "jax")


def _make_folder(root: Path) -> Path:
    """Makes the folder for this kind of processor, in which only the user can write."""
    # Machines that share a home folder can have processors with other instructions.
    folder = root / hashlib.sha256(_processor().encode()).hexdigest()[:12]
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _processor() -> str:
    """Describes the processor, on Linux with its instruction sets."""
    text = f"{platform.system()} {platform.machine()} {platform.processor()}"
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        told = ("model name", "flags", "Features")
        text += "".join(
            next((line for line in lines if line.startswith(name)), "") for name in told
        )
    return text
