"""Checks the paths in a project folder: no path, and no link, leads out of it.

A project folder may come from somebody else, who may mean ill. A path in one of its files, or a link in the
place of a file, would make this package read, overwrite or delete files elsewhere; a pipe would make it wait
for ever. The project folder itself may be a link: its path was given by the user.

These checks guard against a folder prepared beforehand. Somebody who swaps files while a search runs has the
rights of the user already.
"""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import Any

from recdrop_tune.errors import ProjectError, invalid_argument, shown

RUNS = "recdrop_runs"
"""Where searches have their project folders by default."""

JOURNAL = "events.jsonl"
"""The journal of a search, in its project folder."""

SEARCH = "search.json"
"""The file in a project folder that says what search it is for."""

_LOCK = "optuna.journal.lock"
"""Optuna's lock of its journal is a link by design: it is made, renamed and deleted, but never followed."""

_LARGEST = 2**63

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a file",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def as_folders(argument: str, folders: Any) -> list[Path]:
    """Returns the paths of folders, or of one, absolute and without `~`.

    Raises:
        InvalidArgumentError: They are none.
    """
    several = [folders] if isinstance(folders, str | os.PathLike) else folders
    listed = isinstance(several, list | tuple)
    if not listed or not all(isinstance(f, str | os.PathLike) and str(f) for f in several):
        expected = "the project folder of an earlier search, or a list of such"
        raise invalid_argument(argument, expected=expected, received=folders)
    try:
        return list(dict.fromkeys(Path(f).expanduser().absolute() for f in several))
    except RuntimeError as error:
        expected = "folders; no home is known for the user in one of them"
        raise invalid_argument(argument, expected=expected, received=folders) from error


def check_folder(folder: str | Path) -> None:
    """Raises a `ProjectError` if there is a link, a pipe, a socket or a device in a project folder.

    Everything that continues a search, or reads one, calls this first.
    """
    waiting = [Path(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    elif not entry.is_file(follow_symlinks=False) and not _may_be(entry, folder):
                        raise unexpected(entry.path, "a file or a folder")
        except (FileNotFoundError, NotADirectoryError):
            continue  # While a search is running, files come and go.
        except PermissionError as error:
            raise ProjectError(
                f"`{printable(error.filename)}` cannot be looked into: {error.strerror}. Nothing was "
                "changed. Ask its owner for the rights, or give another `directory`."
            ) from error


def check_path(path: str | Path, *, within: str | Path | None = None) -> Path:
    """Returns a path for a library to open, after a check that it leads to a plain file or to nothing yet."""
    path = Path(path)
    check_parents(path, within)
    check_kind(path, stat.S_IFREG)
    return path


def inside(folder: str | Path, name: object, source: str) -> Path:
    """Returns the path of a file that another file names.

    Args:
        folder: The project folder.
        name: The text in the file, a path relative to the folder.
        source: The file with this text, for the error message.

    Raises:
        ProjectError: It is no path, or it or a link leads out of the folder.

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
    """Returns the folder of a trial whose id a file names; see `inside`."""
    if isinstance(trial_id, str) and not {"/", os.sep} & set(trial_id):
        return inside(folder, f"trial_{trial_id}", source)
    raise _outside(folder, trial_id, source)


def check_trial_ids(folder: str | Path, trials: dict[str, Any]) -> None:
    """Raises if the id of a trial that was read from its file, or of one it names, is a path elsewhere.

    Raises:
        ProjectError: There is one, or a number larger than any in a search.
    """
    for trial_id, trial in trials.items():
        path = trial_folder(folder, trial_id, "trial.json") / "trial.json"
        if not isinstance(trial.best_step, int | None) or has_absurd_number(trial.get_state()):
            raise ProjectError(
                f"`{printable(path)}` is damaged: it has a number that no search has."
            )
        earlier = trial.hyperparameters.values.get("tuner/trial_id")  # Hyperband's
        if earlier is not None:
            trial_folder(folder, earlier, "trial.json")


def check_parents(path: str | Path, within: str | Path | None) -> None:
    """Raises unless each step from a project folder to a path is a plain folder, or is not there yet."""
    path = Path(os.path.abspath(path))
    root = path.parent if within is None else Path(os.path.abspath(within))
    if not path.is_relative_to(root):
        raise _outside(root, str(path), "recdrop-tune")
    while path != root and (path := path.parent) != root:
        check_kind(path, stat.S_IFDIR)


def check_kind(path: str | Path, wanted: int) -> None:
    """Raises if there is something else at a path than `stat.S_IFREG` or `stat.S_IFDIR`, as wanted."""
    if kind_of(path) not in (None, wanted):
        raise unexpected(path, _KINDS[wanted])


def kind_of(path: str | Path) -> int | None:
    """Returns what is at a path, as `stat.S_IFMT` tells it, links not followed; `None` for nothing."""
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except FileNotFoundError:
        return None


def unexpected(path: str | Path, wanted: str) -> ProjectError:
    """Makes the error about a path at which there is something else than `wanted`, in words."""
    found = _KINDS.get(kind_of(path) or 0, "gone")
    return ProjectError(
        f"`{printable(path)}` is {found}, and has to be {wanted}. It was neither followed nor read nor "
        "written. Find out where it comes from; then delete it, or put a copy of what it stands for in its "
        "place."
    )


def printable(path: str | Path) -> str:
    """Writes a path so that a terminal obeys nothing in it."""
    return shown(str(path))[1:-1]


def has_absurd_number(value: Any, finite: bool = False) -> bool:
    """Says whether there is a whole number of more than 64 bits in what was read from JSON.

    With `finite`, infinity and NaN are absurd too; losses may be such.
    """
    if isinstance(value, dict):
        return any(has_absurd_number(each, finite) for each in value.values())
    if isinstance(value, list | tuple):
        return any(has_absurd_number(each, finite) for each in value)
    if isinstance(value, float):
        return finite and not math.isfinite(value)
    return isinstance(value, int) and abs(value) > _LARGEST


def _may_be(entry: os.DirEntry[str], folder: str | Path) -> bool:
    """Says whether an entry that is no file and no folder is Optuna's lock, or gone by now."""
    at_top = Path(entry.path).parent == Path(folder)
    is_lock = at_top and entry.is_symlink() and entry.name.startswith(_LOCK)
    return is_lock or kind_of(entry.path) is None


def _outside(folder: str | Path, name: object, source: str) -> ProjectError:
    return ProjectError(
        f"`{source}` in `{folder}` names {shown(name)}, which is nothing in that folder: somebody has "
        "changed the file. It was neither read nor written."
    )
