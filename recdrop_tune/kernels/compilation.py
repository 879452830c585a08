"""Keeps what JAX has compiled for the next process: a search that goes on, a worker, the next search.

JAX compiles each model anew in each process, which takes several seconds a model on a CPU, and longer than
the training where that is short. TensorFlow and torch do not compile unless they are told to.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import keras

LARGEST = 2**30
"""Bytes that are kept; what was not used for longest goes first. A program takes some 30 kB on a CPU."""


@contextlib.contextmanager
def compilations_kept(where: bool | Path) -> Iterator[None]:
    """Keeps what JAX compiles, and takes what was kept before, until the end of the block.

    Nothing is done on another backend, where the user has set a folder for it (`JAX_COMPILATION_CACHE_DIR`),
    and where there is no `filelock`, without which JAX does not bound what is kept.

    Args:
        where: A folder; or whether to use one in the user's folder of caches. Who can write to it can make
            this process run any code: it is nobody's but the user's.
    """
    if (
        not where
        or keras.backend.backend() != "jax"
        or importlib.util.find_spec("filelock") is None
    ):
        yield
        return
    # In this way, because a type checker's environment need not have it.
    jax: Any = import_module("jax")
    cache: Any = import_module("jax.experimental.compilation_cache.compilation_cache")
    if jax.config.jax_compilation_cache_dir:
        yield
        return
    folder = _folder(where)
    if folder is None:
        yield
        return
    wanted = {
        "jax_compilation_cache_dir": str(folder),
        "jax_compilation_cache_max_size": LARGEST,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in wanted}
    for name, value in wanted.items():
        jax.config.update(name, value)
    cache.reset_cache()  # JAX looks once whether there is one.
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        cache.reset_cache()


def _folder(where: bool | Path) -> Path | None:
    """Makes the folder of this kind of processor; `None` where it cannot be made, or is another user's."""
    if isinstance(where, Path):
        root = where
    else:
        from platformdirs import user_cache_path  # Here, for the layers do not need it.

        root = user_cache_path("recdrop-tune") / "jax"
    # A home may be shared by machines whose processors know other instructions.
    kind = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    folder = root.absolute() / kind
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return None
    is_own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return folder if is_own and not status.st_mode & 0o022 and os.access(folder, os.W_OK) else None


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
