"""Says how to go on with a search: when it begins, has been broken off or stopped, or cannot go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from pathlib import Path
from typing import Any

import yaml

from recdrop_tune.events import FILE, Journal, Records
from recdrop_tune.terminal import best_words

Words = Callable[[Path, bool], str]
"""Says how to go on with the search in a folder; the flag tells whether `overwrite` was asked for."""


def _in_python(folder: Path, overwrite: bool) -> str:
    kept = " and overwrite=False" if overwrite else ""
    return f'run again with directory="{folder}"{kept}'


def by_making_the_tuner(folder: Path, overwrite: bool) -> str:
    """Says how to go on with a search by a tuner of Keras Tuner's, whose folder it has made itself."""
    return (
        "make the tuner again with the same `directory` and `project_name`, and `overwrite=False`"
    )


_words: ContextVar[Words] = ContextVar("words", default=_in_python)


@contextmanager
def explained_by(words: Words) -> Iterator[None]:
    """Has the searches in a block say in other words how to go on: a command knows itself best."""
    token = _words.set(words)
    try:
        yield
    finally:
        _words.reset(token)


def how_to_go_on(folder: Path, overwrite: bool = False) -> str:
    """Returns the words for it, which may be a command.

    Example:
        >>> how_to_go_on(Path("recdrop_runs/speech"))
        'run again with directory="recdrop_runs/speech"'
    """
    return _words.get()(folder, overwrite)


def how_to_set(name: str, value: Any, has_settings: bool = False) -> str:
    """Writes a setting of `Optuna` as the caller has to: in Python, or in the configuration of a command.

    Args:
        name: The setting.
        value: Its value.
        has_settings: Whether the caller has an `Optuna` with other settings, which are to stay.

    Example:
        >>> how_to_set("warm_start", "recdrop_runs/speech")
        "tuner=rdt.Optuna(warm_start='recdrop_runs/speech')"
    """
    if _words.get() is _in_python:
        setting = f"{name}={value!r}"
        return (
            f"`{setting}` in your `rdt.Optuna`" if has_settings else f"tuner=rdt.Optuna({setting})"
        )
    written = yaml.safe_dump({name: value}, default_flow_style=True, width=inf, sort_keys=False)
    setting = written.strip()
    return f"`{setting[1:-1]}` in your `tuner`" if has_settings else f"`tuner: {setting}`"


def notes_on(folder: Path, overwrite: bool = False) -> list[str]:
    """Says of a search that has been broken off what it has, and how to go on."""
    best = best_words(Records(Journal(folder / FILE).read()))
    return [
        f"Broken off. What is finished is kept in {folder}.",
        *([] if best is None else [f"Best so far: {best}"]),
        f"To go on: {how_to_go_on(folder, overwrite)}",
    ]
