"""Keeps what JAX has compiled for the next process: a search that goes on, a worker, the next search.

JAX compiles each model anew in each process, which takes several seconds a model on a CPU, and longer than
the training where that is short. TensorFlow and torch do not compile unless they are told to.
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
"""Bytes that are kept; what was not used for longest goes first. A program takes 1 to 30 kB on a CPU."""

_SUFFIX = "-cache"  # JAX's, of the files that it writes.


@contextlib.contextmanager
def compilations_kept(where: bool | Path) -> Iterator[None]:
    """Keeps what JAX compiles, and takes what was kept before, until the end of the block.

    Nothing is done on another backend, in a block of this kind, and where the user has set a folder for it
    (`JAX_COMPILATION_CACHE_DIR`).

    Args:
        where: A folder, of which one is told by a warning if it cannot be used; or whether to use one in the
            user's folder of caches. Who can write to it can make this process run any code: it has to be
            nobody's but the user's.
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
    """Returns JAX, if it is of a version that keeps what it compiles, and has not been told where."""
    jax = import_module("jax")  # In this way, as a type checker's environment need not have it.
    unset = getattr(jax.config, "jax_compilation_cache_dir", "") is None
    return (
        jax if unset and hasattr(jax.config, "jax_persistent_cache_min_compile_time_secs") else None
    )


def _set(jax: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        jax.config.update(name, value)
    # JAX looks once where it is.
    import_module("jax.experimental.compilation_cache.compilation_cache").reset_cache()


def _folder(where: bool | Path) -> Path | None:
    """Makes the folder of this kind of processor; returns `None` where that is not possible, or not safe."""
    try:
        root = where if isinstance(where, Path) else _of_user()
        # A home may be shared by machines whose processors know other instructions.
        folder = root / hashlib.sha256(_processor().encode()).hexdigest()[:12]
        for each in (root, folder):
            each.parent.mkdir(parents=True, exist_ok=True)
            each.mkdir(mode=0o700, exist_ok=True)
        problem = _problem(folder)
    except (OSError, RuntimeError, ValueError) as error:  # There may be no home, for one.
        problem = str(error)
    if not problem:
        return folder
    if isinstance(where, Path):
        what = f"What JAX compiles is not kept in compilation_cache={str(where)!r}: {problem}."
        warnings.warn(what, stacklevel=4)
    return None


def _of_user() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches, "recdrop-tune", "jax")


def _problem(folder: Path) -> str:
    """Says why programs from a folder are not to be run; an empty text if they may be."""
    if not os.access(folder, os.W_OK):
        return f"{folder} cannot be written to"
    if not hasattr(os, "getuid"):
        return ""
    for each in (folder, *folder.parents):
        status, own = each.lstat(), each in (folder, folder.parent)
        if own and status.st_uid != os.getuid():
            return f"{each} is another user's"
        shared = stat.S_IWGRP | stat.S_IWOTH if own else stat.S_IWOTH
        if status.st_mode & shared and not (status.st_mode & stat.S_ISVTX or each.is_symlink()):
            return f"others can write to {each}"
    return ""


def _prune(folder: Path) -> None:
    """Deletes what was not used for longest, until the rest is within the bound."""
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):  # Another process prunes too.
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
    """Describes the processor, with the instructions that it knows where the system says so."""
    text = f"{platform.system()} {platform.machine()} {platform.processor()}"
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        told = ("model name", "flags", "Features")
        text += "".join(
            next((line for line in lines if line.startswith(name)), "") for name in told
        )
    return text
