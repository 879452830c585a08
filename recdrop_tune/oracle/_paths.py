"""Paths made of what a file in the project folder says: none leads out of the folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from recdrop_tune.errors import ProjectError, shown


def inside(folder: str | Path, name: object, source: str) -> Path:
    """Returns the path of a file that another file names.

    Whoever can change one file of a project, or has handed a project on, must not have others read, sent or
    overwritten: neither by a path that leads elsewhere, nor by a link that does.

    Args:
        folder: The project folder.
        name: What the file says, relative to the folder.
        source: The file that says so, for the error message.

    Raises:
        ProjectError: It is no path, or leads out of the folder.

    Example:
        >>> inside("runs/speech", "result/trials.csv", "events.jsonl").name
        'trials.csv'
    """
    try:
        path = Path(folder, name)  # type: ignore[arg-type]  # What it is shows here.
        if path.resolve().is_relative_to(Path(folder).resolve()):
            return path
    except (OSError, RuntimeError, TypeError, ValueError):
        pass  # No text, a NUL in it, links that lead round in a circle.
    raise _outside(folder, name, source)


def trial_folder(folder: str | Path, trial_id: object, source: str) -> Path:
    """Returns the folder of a trial whose id a file names.

    Args:
        folder: The project folder.
        trial_id: What the file says.
        source: The file that says so, for the error message.

    Raises:
        ProjectError: It is no id, or leads out of the folder.
    """
    if isinstance(trial_id, str) and not {"/", os.sep} & set(trial_id):
        return inside(folder, f"trial_{trial_id}", source)
    raise _outside(folder, trial_id, source)


def check_trial_ids(folder: str | Path, trials: dict[str, Any]) -> None:
    """Raises if the id of a trial that was read from its file, or of one it names, is a path elsewhere.

    Raises:
        ProjectError: There is one.
    """
    for trial_id, trial in trials.items():
        trial_folder(folder, trial_id, "trial.json")
        earlier = trial.hyperparameters.values.get("tuner/trial_id")  # Hyperband's
        if earlier is not None:
            trial_folder(folder, earlier, "trial.json")


def _outside(folder: str | Path, name: object, source: str) -> ProjectError:
    return ProjectError(
        f"`{source}` in `{folder}` names {shown(name)}, which is nothing in that folder: somebody has "
        "changed the file. It was neither read nor written."
    )
