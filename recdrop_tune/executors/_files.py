"""The files of a trial, sent from the worker that trained it to the project folder and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

# The oracle's own file in the folder of a trial.
_NOT_SENT = "trial.json"


def read(folder: Path) -> dict[str, bytes]:
    """Reads what a training has left in the folder of its trial: the weights."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and path.name != _NOT_SENT
    }


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes the files of a trial, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / Path(name).name
        unfinished = path.with_name(f"unfinished.{path.name}")
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
