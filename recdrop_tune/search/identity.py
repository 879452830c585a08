"""The folder of a search: which search it holds, whether another run may resume it, and its lock."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from recdrop_tune.errors import ProjectError, format_repr
from recdrop_tune.files import (
    JOURNAL,
    SEARCH,
    damage_named,
    delete_leftovers,
    is_leftover,
    lock,
    read_object,
    write_atomically,
)
from recdrop_tune.journal import Journal
from recdrop_tune.tuner import differences

PATIENCE = 10.0
"""Seconds to wait for another search in the folder: the workers of a killed one take some to end."""


@contextmanager
def claim(
    folder: Path, identity: Mapping[str, Any], seed: int | None = None, overwrite: bool = False
) -> Iterator[int]:
    """Reserves a folder, which may not exist yet, for a search while the block runs; yields its seed.

    A new or empty folder gets a new search. A folder that holds the same search keeps its id and its seed. If
    the block raises before the search has written an event, a new folder is removed again.
    """
    new_folders = _make_folder(folder)
    now = json.loads(json.dumps(plain_values(identity)))
    there = None if overwrite else (read_object(folder / SEARCH) or {}).get("identity")
    if isinstance(there, dict) and bool(_models(there)) != bool(_models(now)):
        what = "a comparison of models" if _models(there) else "a search by `tune`"
        raise ProjectError(f"The folder `{folder}` holds {what}. Give another `directory`.")
    with _locked(folder):
        delete_leftovers(folder)
        if overwrite and os.path.lexists(folder / SEARCH):
            # The file that makes it a search goes last: after a kill in between, overwriting works again.
            for path in sorted(folder.iterdir(), key=lambda path: path.name == SEARCH):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        saved = _read(folder)
        is_new = saved is None
        if saved is None:
            # A trial and its twin must start alike, so there has to be one. It comes from Python's own
            # random state: a script that seeds that repeats its search.
            seed = random.randrange(2**31) if seed is None else seed
            saved = {"id": uuid.uuid4().hex, "seed": seed, "identity": now}
            write_atomically(folder / SEARCH, json.dumps(saved, indent=2) + "\n", durable=True)
        wanted = {**now, "seed": saved["seed"] if seed is None else seed}
        if lines := differences({**saved["identity"], "seed": saved["seed"]}, wanted):
            what, how = "search", ", or delete the search there with `overwrite=True`"
            if models := _models(now):  # Each can take hours, so nobody is advised to delete it.
                added = [f"`{name}`" for name in models if name not in _models(saved["identity"])]
                what, how = "comparison" + f", without {', '.join(added)}" * bool(added), ""
            raise ProjectError(
                f"The folder `{folder}` holds another {what}. It differs in:\n"
                + "\n".join(lines)
                + f"\nGive another `directory`{how}."
            )
        try:
            yield saved["seed"]
        except BaseException:
            # Workers write files before the first event; they stay part of a search.
            names = os.listdir(folder) if folder.is_dir() else []
            if is_new and {name for name in names if not is_leftover(name)} == {SEARCH}:
                (folder / SEARCH).unlink()
                for path in new_folders:
                    with suppress(OSError):  # Something else was written there.
                        path.rmdir()
            raise


def plain_values(value: Any, depth: int = 5) -> Any:
    """Describes a value by what JSON can hold, the same in every process; arrays become digests."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): plain_values(part, depth) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(part, depth) for part in value]
    if isinstance(value, np.ndarray):
        # The bytes of objects, such as texts in a pandas column, are pointers.
        content = repr(value.tolist()).encode() if value.dtype == object else value.tobytes()
        digest = hashlib.sha256(content).hexdigest()[:12]
        return f"{value.dtype} array of shape {value.shape}, digest {digest}"
    kind = value if hasattr(value, "__qualname__") else type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    # Private attributes too: Keras's losses keep their arguments there. Names that Keras makes are numbered.
    attributes = dict(getattr(value, "__dict__", {})) if kind is type(value) and depth else {}
    attributes.pop("name", None)
    return {"class": name, **plain_values(attributes, depth - 1)} if attributes else name


def _models(identity: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the compared models of an identity by name; none of a search."""
    model = identity.get("model")
    return model.get("models", {}) if isinstance(model, dict) else {}


def _make_folder(folder: Path) -> list[Path]:
    """Makes a folder; returns the new ones among it and its parents, the innermost first."""
    try:
        new = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        # Permissions do not tell whether the file system is read-only.
        tempfile.TemporaryFile(dir=folder).close()
        Journal(folder / JOURNAL).is_being_written(to_write=True)
    except (OSError, ValueError) as error:  # A NUL in a path is a ValueError.
        raise ProjectError(
            f"The folder `{format_repr(str(folder))[1:-1]}` cannot be written to: {error}. Give another "
            "`directory`."
        ) from error
    return new


def _read(folder: Path) -> dict[str, Any] | None:
    if (saved := read_object(folder / SEARCH)) is not None:
        with damage_named(folder / SEARCH):
            return {"seed": int(saved["seed"]), "identity": {**saved["identity"]}}
    if others := [path.name for path in folder.iterdir() if not is_leftover(path.name)]:
        raise ProjectError(
            f"The folder `{folder}` holds files but no search ({SEARCH}): {format_repr(others)}. Give an "
            "empty or a new folder as `directory`."
        )
    return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other searches out of a folder: the driver locks the folder, a worker locks the journal."""
    journal, end = Journal(folder / JOURNAL), time.monotonic() + PATIENCE
    # Windows cannot open folders. Two searches in one folder are not kept apart there.
    handle = None if os.name == "nt" else os.open(folder, os.O_RDONLY)
    try:
        while (handle is not None and lock(handle) is False) or journal.is_being_written():
            if time.monotonic() > end:
                raise ProjectError(
                    f"A search is running in the folder `{folder}`. Wait for its end, or give another "
                    "`directory`."
                )
            time.sleep(0.1)
        yield
    finally:
        if handle is not None:
            os.close(handle)
