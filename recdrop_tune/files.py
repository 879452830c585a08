"""The one place through which files in a project folder are opened, written, moved and deleted.

Each function works on plain files in plain folders below the project folder, and raises a `ProjectError` that
names the path where it meets a link, a pipe, or a folder in the place of a file; `recdrop_tune.paths` says
why. `within` is the project folder, by default the folder of the file. Libraries that open files by their
paths are given a path that was checked, or a fresh one whose file takes the place of the other when all is
written (`replacing`).
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from recdrop_tune.errors import ProjectError
from recdrop_tune.paths import (
    check_folder,
    check_kind,
    check_parents,
    check_path,
    kind_of,
    printable,
    unexpected,
)

_MODES = {
    "rb": os.O_RDONLY,
    "r+b": os.O_RDWR,
    "a+b": os.O_RDWR | os.O_APPEND | os.O_CREAT,
    "xb": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
}

# Links at the end of a path are not followed, pipes not waited for. Windows has neither.
_ALWAYS = sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)

_BEGINNING = ".unfinished-"
_LEFTOVER = re.compile(re.escape(_BEGINNING) + r"[0-9a-f]{16}-.+")


def open_file(
    path: str | Path, mode: str = "rb", *, within: str | Path | None = None, buffering: int = -1
) -> IO[bytes]:
    """Opens a plain file below a project folder.

    Args:
        path: The file.
        mode: `"rb"`, `"r+b"` (to lock it), `"a+b"` (makes it) or `"xb"` (makes it, and fails if it is there).
        within: The project folder.
        buffering: 0 hands each writing to the system at once.

    Raises:
        ProjectError: It is no plain file; or it is opened to append, and has a second name (a hard link),
            under which it would change too.
        OSError: It is not there, or cannot be opened.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, open_file(f"{folder}/a", "xb") as file:
        ...     file.write(b"text")
        4
    """
    path = check_path(path, within=within)
    handle = os.open(path, _MODES[mode] | _ALWAYS, 0o666)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise unexpected(path, "a file")
        if mode == "a+b" and found.st_nlink > 1:
            raise ProjectError(
                f"`{printable(path)}` has a second name (a hard link), under which it would change too. "
                "Nothing was written. Replace it by a copy of itself."
            )
        return os.fdopen(handle, mode, buffering)
    except BaseException:
        os.close(handle)
        raise


def read(path: str | Path, *, within: str | Path | None = None) -> bytes:
    """Reads a file; see `open_file`."""
    with open_file(path, within=within) as file:
        return file.read()


@contextmanager
def replacing(
    path: str | Path, *, within: str | Path | None = None, durable: bool = False
) -> Iterator[Path]:
    """Yields a fresh path beside a file; what is written to it takes the place of the file at the end.

    So a crash leaves either the old or the new content. If the block raises, the old one stays and the new
    one is deleted. The name of the fresh path tells what a killed process has left (`is_leftover`).

    Args:
        path: The file, there or not; its folder has to be there.
        within: The project folder.
        durable: Whether to wait until it is on the disk and would survive a power cut; some milliseconds.
    """
    path = check_path(path, within=within)
    fresh = fresh_path(path)
    try:
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


def write_atomically(
    path: str | Path,
    content: str | bytes,
    *,
    within: str | Path | None = None,
    durable: bool = False,
) -> None:
    """Writes a file, text as UTF-8, so that a crash leaves either the old or the new content.

    For the arguments see `replacing`.
    """
    with replacing(path, within=within, durable=durable) as fresh, open_file(fresh, "xb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def make_folder(path: str | Path, *, within: str | Path | None = None) -> Path:
    """Makes a folder below a project folder, or that one, if it is not there, and returns its path."""
    path = Path(path)
    check_parents(path, within)
    if within is None or path != Path(within):
        check_kind(path, stat.S_IFDIR)
    path.mkdir(parents=True, exist_ok=True)
    return path


def move(source: str | Path, target: str | Path, *, within: str | Path) -> None:
    """Moves a file, a folder or a link itself inside a project folder, and replaces a file at the target."""
    check_parents(Path(source), within)
    check_parents(Path(target), within)
    os.replace(source, target)


def delete(path: str | Path, *, within: str | Path | None = None) -> None:
    """Deletes a file, if it is there; of a link, the link."""
    check_parents(Path(path), within)
    with suppress(FileNotFoundError):
        if kind_of(path) == stat.S_IFDIR:
            raise unexpected(path, "a file")
        os.unlink(path)


def delete_tree(path: str | Path, *, within: str | Path | None = None) -> None:
    """Deletes a folder and what is in it, as far as it can; of links in it, the links."""
    check_parents(Path(path), within)
    check_kind(Path(path), stat.S_IFDIR)
    shutil.rmtree(path, ignore_errors=True)


def fresh_path(path: Path) -> Path:
    """Returns a path beside another at which there is nothing, and which nobody could foresee.

    The ending stays, by which Keras tells formats apart.
    """
    return path.with_name(f"{_BEGINNING}{secrets.token_hex(8)}-{path.name}")


def is_leftover(name: str) -> bool:
    """Says whether a name is that of a file which a process is still writing, or was killed while it wrote.

    Example:
        >>> is_leftover(".unfinished-0123456789abcdef-search.json"), is_leftover("search.json.tmp")
        (True, False)
    """
    return _LEFTOVER.fullmatch(name) is not None


def delete_leftovers(folder: str | Path) -> None:
    """Deletes what killed processes have left unfinished in a project folder and the folders in it.

    No other process may be writing to it.
    """
    check_folder(folder)
    for above, folders, names in os.walk(folder):
        for name in filter(is_leftover, folders):
            shutil.rmtree(Path(above, name), ignore_errors=True)
        for name in filter(is_leftover, names):
            with suppress(OSError):
                os.unlink(Path(above, name))
        folders[:] = [name for name in folders if not is_leftover(name)]


def delete_leftovers_of(path: str | Path) -> None:
    """Deletes what killed processes have left of one file or folder."""
    path = Path(path)
    for left in path.parent.glob(f"*-{path.name}"):
        if is_leftover(left.name) and left.name[len(_BEGINNING) :].partition("-")[2] == path.name:
            shutil.rmtree(left, ignore_errors=True)
            with suppress(OSError):
                os.unlink(left)


def read_all(folder: str | Path, leave_out: str = "", *, within: str | Path) -> dict[str, bytes]:
    """Reads the files in a folder but one, such as the weights of a training in the folder of its trial."""
    return {
        name: read(Path(folder, name), within=within)
        for name in os.listdir(folder)
        if name != leave_out
        and not is_leftover(name)
        and kind_of(Path(folder, name)) != stat.S_IFDIR
    }


def write_all(folder: str | Path, files: Mapping[str, bytes], *, within: str | Path) -> None:
    """Writes files, contents by names, each whole or not at all, into a folder that is made if need be."""
    folder = make_folder(folder, within=within)
    for name, content in files.items():
        write_atomically(
            folder / Path(name).name, content, within=within
        )  # No path leads elsewhere.


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows opens no folders.
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
