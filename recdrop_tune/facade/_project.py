"""The project folder of a search: what it was made for, and whether it can be used again."""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recdrop_tune.errors import ProjectError
from recdrop_tune.oracle import write_atomically

FILE = "search.json"
"""Name of the file that makes a folder the folder of a search."""


@dataclass(frozen=True)
class Fingerprint:
    """What makes two searches the same one. `max_trials` is no part of it: a search can go on.

    Attributes:
        space: The search space as YAML, or the name of the hypermodel that defines it.
        objective: Name of the objective; several are joined by commas.
        direction: `"min"` or `"max"`, of each.
        tuner: Name of the tuner.
        epochs: Epochs of one trial.
        batch_size: Size of a batch.
        seed: Seed of the search.
        executions: Trainings of each trial.
        cv: Folds of cross-validation, in words.
    """

    space: str
    objective: str
    direction: str
    tuner: str
    epochs: int
    batch_size: int
    seed: int | None
    executions: int = 1
    cv: str | None = None


def named(goals: Sequence[Any]) -> dict[str, Any]:
    """Writes objectives as a fingerprint holds them: names and directions."""
    return {
        "objective": ",".join(goal.name for goal in goals),
        "direction": ",".join(goal.direction for goal in goals),
    }


def claim(folder: Path, fingerprint: Fingerprint, overwrite: bool = False) -> str:
    """Makes the folder of a search, and checks that the search may use it.

    What is in the folder stays, unless `overwrite` says otherwise.

    Args:
        folder: The project folder, there or not.
        fingerprint: The search.
        overwrite: Whether to delete another search in the folder.

    Returns:
        The id of the search: a new one, or that of the same search begun earlier.

    Raises:
        ProjectError: The folder holds another search, or something else, or cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise ProjectError(f"`{folder}` is a file. Give a folder as `directory`.")
    _make_writable(folder)
    # A search that was killed while it wrote its first file has left that one unfinished.
    if all(path.name == f"{FILE}.tmp" for path in folder.iterdir()):
        return uuid.uuid4().hex
    if not (folder / FILE).exists():
        raise ProjectError(
            f"The folder `{folder}` holds files but no search of recdrop-tune ({FILE}). Nothing was "
            "changed. Give an empty or a new folder as `directory`."
        )
    if overwrite:
        shutil.rmtree(folder)
        return uuid.uuid4().hex
    held = _read(folder / FILE)
    _compare(folder, held["fingerprint"], asdict(fingerprint))
    return str(held["id"])


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Permissions alone do not tell: a file system can be mounted for reading only.
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ProjectError(
            f"The folder `{folder}` cannot be written to: {error}. Give another `directory`."
        ) from error


def write(folder: Path, search_id: str, fingerprint: Fingerprint) -> None:
    """Writes what a folder is for, whole or not at all."""
    data = {"format": 1, "id": search_id, "fingerprint": asdict(fingerprint)}
    write_atomically(folder / FILE, json.dumps(data, indent=2) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(held["fingerprint"], dict) and held["id"]:
            return dict(held)
    except (ValueError, KeyError, TypeError):
        pass
    raise ProjectError(
        f"`{path}` is damaged, so what search it belongs to is unknown. Give another `directory`, "
        "or delete the search with `overwrite=True`."
    )


def _compare(folder: Path, held: dict[str, Any], wanted: dict[str, Any]) -> None:
    differing = [name for name, value in wanted.items() if held.get(name) != value]
    if not differing:
        return
    lines = "\n".join(
        f"  {name}: {_short(held.get(name))} there, {_short(wanted[name])} now"
        for name in differing
    )
    raise ProjectError(
        f"The folder `{folder}` holds another search. It differs in:\n{lines}\n"
        "Nothing was changed. Give another `directory`, or delete the search there with "
        "`overwrite=True`."
    )


def _short(value: object) -> str:
    return repr(value.strip().replace("\n", "; ") if isinstance(value, str) else value)
