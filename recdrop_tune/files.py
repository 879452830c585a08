"""Files: atomic writes, locks, what killed processes leave, the guard against links in a project folder.

A project folder can come from a stranger. A link in it, or a path in one of its files, could make this
package read, overwrite or delete files elsewhere. So `check_folder` refuses links that lead out before a
search is continued or read, and `inside` refuses such paths. The project folder itself can be a link: the
user gave its path. Somebody who can swap files while a search runs has the user's rights already.
"""

from __future__ import annotations

import glob
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from recdrop_tune.errors import ProjectError, format_repr, invalid_argument, plain

try:
    import fcntl
except ImportError:  # Windows has no such locks.
    fcntl = None  # type: ignore[assignment]

HAS_LOCKS = fcntl is not None
"""Whether this system has the locks that show that a file is being used."""

RUNS = "recdrop_runs"
"""The default folder for project folders."""

JOURNAL = "events.jsonl"
"""The journal of a search, in its project folder."""

SEARCH = "search.json"
"""The file that makes a folder the project folder of a search."""

RESULT = "result"
"""The folder of a result, in the project folder."""

MODEL, MODEL_CARD, CODE = "best_model.keras", "best_model.json", "best_model.py"
"""The best model, its description for MLflow, and Python source that builds it."""

STOP = "stop-requested"
"""The request to stop a search that runs in another process, perhaps on another machine.

The search looks for it before each trial. It is removed when the search obeys it, and when a search starts.
"""

IN_USE = ".in-use"
"""File in a scratch folder that is locked while its process lives. The system releases the lock."""

RESTORE = (
    "Nothing was changed. Restore the file, give another `directory`, or delete the search with "
    "`overwrite=True`."
)

_NONSENSE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What code raises that gets something else than it expects."""

_UNFINISHED = ".unfinished-"
_LEFTOVER = re.compile(re.escape(_UNFINISHED) + r"[0-9a-f]{16}-(.+)")


def check_folder(folder: str | Path) -> None:
    """Raises a `ProjectError` if a link in a project folder leads out of it, or something is not a file.

    Everything that continues or reads a search calls this first.
    """
    for above, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(above, name)
            if path.is_symlink() and not _is_inside(folder, path):
                raise ProjectError(
                    f"`{plain(str(path))}` is a link that leads out of the project folder. Nothing was read "
                    "or written. Replace it with a copy of its target, or delete it."
                )
            check_can_be_read(path)


def check_can_be_read(path: Path) -> None:
    """Raises a `ProjectError` if something else than a file or a folder is at a path: a pipe would block."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ProjectError(f"`{plain(str(path))}` is not a file. Nothing was read. Delete it.")


def inside(folder: str | Path, name: object, source: str) -> Path:
    """Returns the path of a file that another file, `source`, names relative to the project folder.

    A path that leads out of the folder raises a `ProjectError`.
    """
    path = Path(folder, str(name))
    if not _is_inside(folder, path):
        raise ProjectError(
            f"`{source}` in `{folder}` names {format_repr(name)}, which is not in that folder. Nothing was "
            "read or written there."
        )
    return path


def trial_folder(folder: str | Path, trial_id: object, source: str) -> Path:
    """Returns the folder of a trial that a file names; see `inside`."""
    return inside(folder, f"trial_{trial_id}", source)


def check_trial_ids(folder: str | Path, trials: Mapping[str, Any]) -> None:
    """Raises a `ProjectError` if a trial's id, or the id of a trial that it continues, leads elsewhere."""
    for trial_id, trial in trials.items():
        earlier = trial.hyperparameters.values.get("tuner/trial_id")  # Hyperband continues trials.
        for each in (trial_id, earlier or trial_id):
            trial_folder(folder, each, "trial.json")


def as_folders(argument: str, folders: Any) -> list[Path]:
    """Returns one folder, or several, as a list of absolute paths without `~`."""
    try:
        several = [folders] if isinstance(folders, str | os.PathLike) else folders
        return list(dict.fromkeys(Path(f).expanduser().absolute() for f in several))
    except (TypeError, RuntimeError) as error:
        expected = "the project folder of an earlier search, or a list of them"
        raise invalid_argument(argument, expected=expected, received=folders) from error


@contextmanager
def replacing(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """Yields a fresh path; the file written there replaces the file at `path` when the block ends.

    A crash leaves either the old or the new content. If the block raises, the old file stays and the new one
    is deleted. A `durable` file survives a power cut: waiting for the disk takes some milliseconds.
    """
    path = Path(path)
    fresh = fresh_path(path)
    try:
        with name_file_in_errors(path):
            yield fresh
            if durable:
                _sync(fresh)
            os.replace(fresh, path)
    except BaseException:
        with suppress(OSError):
            fresh.unlink()
        raise
    if durable:
        _sync(path.parent)


def write_atomically(path: str | Path, content: str | bytes, *, durable: bool = False) -> None:
    """Writes a file, text as UTF-8, as `replacing` does."""
    with replacing(path, durable=durable) as fresh:
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def name_file_in_errors(path: Path) -> Iterator[None]:
    """Adds the name of a file to the system's errors in the block: those of a full disk have none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def damage_named(path: Path, advice: str = RESTORE) -> Iterator[None]:
    """Raises a `ProjectError` that names a file where the block cannot make sense of its content."""
    try:
        yield
    except ProjectError:
        raise
    except OSError as error:
        raise ProjectError(f"`{path}` cannot be read: {error}. Nothing was changed.") from error
    except _NONSENSE as error:
        kind = type(error).__name__
        raise ProjectError(f"`{path}` is damaged ({kind}: {error}). {advice}") from error


def read_object(path: Path) -> dict[str, Any] | None:
    """Reads a file that holds a JSON object; returns None if there is no such file.

    A file that cannot be read, or holds something else, raises a `ProjectError`.
    """
    check_can_be_read(path)
    with damage_named(path):
        try:
            held = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not isinstance(held, dict):
            raise ValueError("not a JSON object")
        return held


def lock(file: IO[bytes] | int, *, shared: bool = False, patience: float = 0.0) -> bool | None:
    """Locks an open file or folder until it is closed; the system releases the lock of a killed process.

    Returns whether it is locked, after at most `patience` seconds of waiting for another process; `None` if
    the system or the file system has no locks. Others can have a `shared` lock of it too.
    """
    if fcntl is None:
        return None
    how, end = fcntl.LOCK_SH if shared else fcntl.LOCK_EX, time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
        except OSError:
            return None
        time.sleep(0.01)


def fresh_path(path: Path) -> Path:
    """Returns an unused path next to another, with the same suffix: Keras chooses the format by it."""
    return path.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}-{path.name}")


def is_leftover(name: str) -> bool:
    """Returns whether a file is unfinished: still being written, or left by a killed process."""
    return _LEFTOVER.fullmatch(name) is not None


def delete_leftovers(folder: str | Path) -> None:
    """Deletes the unfinished files of killed processes in a project folder and its subfolders.

    No other process may be writing to it.
    """
    check_folder(folder)
    for above, folders, names in os.walk(folder):
        for name in filter(is_leftover, (*folders, *names)):
            _delete(Path(above, name))
        folders[:] = [name for name in folders if not is_leftover(name)]


def delete_leftovers_of(path: str | Path) -> None:
    """Deletes what killed processes have left of one file or folder."""
    path = Path(path)
    for left in path.parent.glob(f"{_UNFINISHED}*"):
        found = _LEFTOVER.fullmatch(left.name)
        if found is not None and found[1] == path.name:
            _delete(left)


def read_all(folder: str | Path, leave_out: str = "") -> dict[str, bytes]:
    """Returns the contents of the files in a folder, except one, such as the weights of a trial."""
    return {
        path.name: path.read_bytes()
        for path in Path(folder).iterdir()
        if path.name != leave_out and path.is_file() and not is_leftover(path.name)
    }


def write_all(folder: str | Path, files: Mapping[str, bytes]) -> None:
    """Writes files, contents by names, each atomically, into a folder that is created if necessary."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        # Names with folders in them lead elsewhere.
        write_atomically(folder / Path(name).name, content)


def ask_to_stop(folder: Path) -> None:
    """Asks the search in a folder to end after its running trials."""
    write_atomically(folder / STOP, b"")


def is_asked_to_stop(folder: str | Path) -> bool:
    """Returns whether the search in a folder was asked to end."""
    return Path(folder, STOP).exists()


def forget_stop(folder: str | Path) -> None:
    """Removes the request, if there is one."""
    Path(folder, STOP).unlink(missing_ok=True)


@contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Yields a folder that is removed at the end of the block; if its process is killed, by the next one.

    Abandoned folders with the same `prefix` are removed first.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    remove_abandoned(prefix, parent)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    # The file gets its name only once it is locked, or another process could take it for abandoned.
    fresh = folder / f"{IN_USE}-new"
    try:
        with fresh.open("wb", buffering=0) as file:
            if lock(file):
                file.write(str(os.getpid()).encode())  # To find the process.
                fresh.rename(folder / IN_USE)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(prefix: str, parent: Path) -> None:
    """Removes the scratch folders of dead processes; those without the file `IN_USE` are somebody else's."""
    for mark in parent.glob(f"{glob.escape(prefix)}*/{IN_USE}"):
        with suppress(OSError), mark.open("rb") as file:  # It can be another user's.
            if lock(file):
                shutil.rmtree(mark.parent, ignore_errors=True)


def _is_inside(folder: str | Path, path: Path) -> bool:
    try:
        return path.resolve().is_relative_to(Path(folder).resolve())
    except (OSError, RuntimeError, ValueError):  # A circle of links, or a NUL character.
        return False


def _delete(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows opens no folders.
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
