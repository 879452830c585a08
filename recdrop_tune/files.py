"""The one place through which files in a project folder are opened, written, moved and deleted.

Whatever is opened here is a plain file in plain folders below the project folder, or there is a
`ProjectError` that names what is not; `recdrop_tune.paths` says why. Libraries that open files by their paths
are given a path that was checked, or a fresh one whose file takes the place of the other when all is written
(`replacing`).
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
        within: The project folder; by default the folder of the file.
        buffering: 0 hands each writing to the system at once.

    Raises:
        ProjectError: It is a link, a pipe or a folder, or lies behind a link; or it is to be appended to and
            has a second name (a hard link), under which it would change too.
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
    """Reads a plain file below a project folder; see `open_file`."""
    with open_file(path, within=within) as file:
        return file.read()


@contextmanager
def replacing(
    path: str | Path, *, within: str | Path | None = None, durable: bool = False
) -> Iterator[Path]:
    """Yields a fresh path beside a file; what is written to it takes the place of the file at the end.

    So a crash leaves either the old or the new content. If the block raises, the old one stays and the new
    one is deleted. What a killed process leaves is known by its name (`is_leftover`).

    Args:
        path: The file, there or not; its folder has to be there.
        within: The project folder; by default the folder of the file.
        durable: Whether to wait until it is on the disk and would survive a power cut; some milliseconds.

    Yields:
        A path in the same folder, at which there is nothing yet, with the same ending as the file.

    Raises:
        ProjectError: The file is a link or a folder, or lies behind a link.
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
    """Writes a file so that a crash leaves either the old or the new content; see `replacing`.

    Args:
        path: The file, there or not; its folder has to be there.
        content: What is to be in it; text is written as UTF-8.
        within: The project folder; by default the folder of the file.
        durable: Whether to wait until it is on the disk, and would survive a power cut.

    Raises:
        ProjectError: The file is a link or a folder, or lies behind a link.
    """
    with replacing(path, within=within, durable=durable) as fresh, open_file(fresh, "xb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def make_folder(path: str | Path, *, within: str | Path | None = None) -> Path:
    """Makes a folder below a project folder, or that one, if it is not there, and returns its path.

    Raises:
        ProjectError: It is a link or a file, or lies behind a link.
    """
    path = Path(path)
    check_parents(path, within)
    if within is None or path != Path(within):
        check_kind(path, stat.S_IFDIR)
    path.mkdir(parents=True, exist_ok=True)
    return path


def move(source: str | Path, target: str | Path, *, within: str | Path) -> None:
    """Moves a file or a folder inside a project folder; a file that is at the target is replaced.

    A link is moved as such.

    Raises:
        ProjectError: The one or the other lies behind a link.
    """
    check_parents(Path(source), within)
    check_parents(Path(target), within)
    os.replace(source, target)


def delete(path: str | Path, *, within: str | Path | None = None) -> None:
    """Deletes a file below a project folder, if it is there; of a link, the link.

    Raises:
        ProjectError: It is a folder, or lies behind a link.
    """
    check_parents(Path(path), within)
    with suppress(FileNotFoundError):
        if kind_of(path) == stat.S_IFDIR:
            raise unexpected(path, "a file")
        os.unlink(path)


def delete_tree(path: str | Path, *, within: str | Path | None = None) -> None:
    """Deletes a folder below a project folder and what is in it, as far as it can; of links, the links.

    Raises:
        ProjectError: It is a link or a file, or lies behind a link.
    """
    check_parents(Path(path), within)
    check_kind(Path(path), stat.S_IFDIR)
    shutil.rmtree(path, ignore_errors=True)


def fresh_path(path: Path) -> Path:
    """Returns a path beside another at which there is nothing, and which nobody could foresee.

    It has the same ending, by which Keras tells formats apart.
    """
    return path.with_name(f"{_BEGINNING}{secrets.token_hex(8)}-{path.name}")


def is_leftover(name: str) -> bool:
    """Says whether a file has the name of one that was not finished: a process was killed, or is writing it.

    Example:
        >>> is_leftover(".unfinished-0123456789abcdef-search.json"), is_leftover("search.json.tmp")
        (True, False)
    """
    return _LEFTOVER.fullmatch(name) is not None


def delete_leftovers(folder: str | Path) -> None:
    """Deletes what killed processes have left unfinished in a project folder and the folders in it.

    Args:
        folder: The project folder. No other process may be writing to it.

    Raises:
        ProjectError: See `check_folder`.
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
    """Deletes what killed processes have left of one file or folder; see `delete_leftovers`."""
    path = Path(path)
    for left in path.parent.glob(f"*-{path.name}"):
        if is_leftover(left.name) and left.name[len(_BEGINNING) :].partition("-")[2] == path.name:
            shutil.rmtree(left, ignore_errors=True)
            with suppress(OSError):
                os.unlink(left)


def read_all(folder: str | Path, leave_out: str = "", *, within: str | Path) -> dict[str, bytes]:
    """Reads the files in a folder, such as the weights that a training has left in the folder of its trial.

    Args:
        folder: The folder.
        leave_out: The name of a file that is not wanted.
        within: The project folder.

    Raises:
        ProjectError: One is a link, or the folder is.
    """
    return {
        name: read(Path(folder, name), within=within)
        for name in os.listdir(folder)
        if name != leave_out
        and not is_leftover(name)
        and kind_of(Path(folder, name)) != stat.S_IFDIR
    }


def write_all(folder: str | Path, files: Mapping[str, bytes], *, within: str | Path) -> None:
    """Writes files into a folder of a project, each whole or not at all.

    Args:
        folder: The folder; it is made if need be.
        files: Contents by names. Of a path, only the name counts.
        within: The project folder.

    Raises:
        ProjectError: One is there and is a link or a folder, or the folder is a link.
    """
    folder = make_folder(folder, within=within)
    for name, content in files.items():
        write_atomically(folder / Path(name).name, content, within=within)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows opens no folders.
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
