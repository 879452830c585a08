"""Caches what JAX compiles for later processes: a resumed search, a worker, the next search.

JAX compiles each model in each process, which takes several seconds on a CPU: longer than a short training.
TensorFlow and torch compile only on request.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import stat
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import keras

LARGEST = 2**28
"""Bytes of the cache. The least recently used programs are deleted first; one has 1 to 30 kB on a CPU."""

_SUFFIX = "-cache"  # Of JAX's cache files.


@contextlib.contextmanager
def compilations_kept(where: bool | Path) -> Iterator[None]:
    """Caches what JAX compiles inside the block, and uses what was cached before.

    Does nothing on other backends, inside another such block, and if the user has set a folder
    (`JAX_COMPILATION_CACHE_DIR`).

    Args:
        where: A folder, with a warning if it cannot be used; or whether to use the user's cache folder.
            Anybody who can write to it can make this process run code, so it must belong to the user.
    """
    jax = _jax() if where and keras.backend.backend() == "jax" else None
    folder = None if jax is None else _folder(where)
    if jax is None or folder is None:
        yield
        return
    _prune(folder)
    wanted = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in wanted}
    _set(jax, wanted)
    try:
        yield
    finally:
        _set(jax, before)


def _jax() -> Any:
    """Returns JAX if this version has a cache and the user has not set its folder."""
    jax = import_module("jax")  # The environment of a type checker does not need JAX.
    unset = getattr(jax.config, "jax_compilation_cache_dir", "") is None
    return (
        jax if unset and hasattr(jax.config, "jax_persistent_cache_min_compile_time_secs") else None
    )


def _set(jax: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        jax.config.update(name, value)
    # JAX reads the settings only once.
    import_module("jax.experimental.compilation_cache.compilation_cache").reset_cache()


def _folder(where: bool | Path) -> Path | None:
    """Makes the folder for this kind of processor. Returns `None` if that is impossible or unsafe."""
    try:
        root = where if isinstance(where, Path) else _of_user()
        # Machines that share a home folder can have processors with other instructions.
        folder = root / hashlib.sha256(_processor().encode()).hexdigest()[:12]
        for each in (root, folder):
            each.parent.mkdir(parents=True, exist_ok=True)
            each.mkdir(mode=0o700, exist_ok=True)
        problem = _problem(folder)
    except (OSError, RuntimeError, ValueError) as error:  # Such as a user without a home folder.
        problem = str(error)
    if not problem:
        return folder
    if isinstance(where, Path):
        what = f"compilation_cache={str(where)!r} is not used: {problem}."
        warnings.warn(what, stacklevel=4)
    return None


def _of_user() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches, "recdrop-tune", "jax")


def _problem(folder: Path) -> str:
    """Returns why programs from a folder are unsafe to run, or an empty text."""
    if not os.access(folder, os.W_OK):
        return f"{folder} cannot be written to"
    if not hasattr(os, "getuid"):
        return ""
    for each in (folder, *folder.parents):
        status, own = each.lstat(), each in (folder, folder.parent)
        if own and status.st_uid != os.getuid():
            return f"{each} belongs to another user"
        shared = stat.S_IWGRP | stat.S_IWOTH if own else stat.S_IWOTH
        if status.st_mode & shared and not (status.st_mode & stat.S_ISVTX or each.is_symlink()):
            return f"others can write to {each}"
    return ""


def _prune(folder: Path) -> None:
    """Deletes the least recently used programs until the rest fits the limit."""
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):  # Another process can prune at the same time.
                status = entry.stat()
                used = max(status.st_atime, status.st_mtime)
                found.append((used, status.st_size, Path(entry.path)))
    size = sum(each for _, each, _ in found)
    for _, each, path in sorted(found):
        if size <= LARGEST:
            return
        if path.name.endswith(_SUFFIX):
            with contextlib.suppress(OSError):
                path.unlink()
            size -= each


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
