"""Functions of the user's: found by `module:function`, called, and their failures in words."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from recdrop_tune.errors import RecdropError


class UserCodeError(RecdropError):
    """Code that a configuration names is not there, or has failed."""


def look_in(folder: Path) -> None:
    """Has modules be looked for in a folder first, here and in the processes that are started from here."""
    place = str(folder.resolve())
    sys.path.insert(0, place)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{place}{os.pathsep}{before}" if before else place


def resolve(reference: str, where: str, folder: Path) -> Any:
    """Imports what `module:function` names.

    Args:
        reference: The name.
        where: The place in the configuration that has it.
        folder: The folder of the configuration.

    Raises:
        UserCodeError: There is no such module or function, or the module cannot be imported.
    """
    module, _, path = reference.partition(":")
    found = _imported(module, reference, where, folder)
    for name in path.split("."):
        if not hasattr(found, name):
            near = get_close_matches(name, [each for each in dir(found) if each[0] != "_"], n=1)
            hint = f" Did you mean `{module}:{near[0]}`?" if near else ""
            file = getattr(found, "__file__", None) or module
            raise UserCodeError(f"{where}: there is no `{name}` in {file}.{hint}")
        found = getattr(found, name)
    return found


def call(function: Callable[[], Any], reference: str, where: str, folder: Path) -> Any:
    """Calls a function of the user's without arguments.

    Raises:
        UserCodeError: It raises an exception (the message has it, and the line that it came from), or
            returns nothing.
    """
    if not callable(function):
        raise UserCodeError(f"{where}: `{reference}` is no function but {function!r:.80}.")
    try:
        made = function()
    except (Exception, SystemExit) as error:
        raise UserCodeError(f"{where}: `{reference}` failed: {_told(error, folder)}") from error
    if made is None:
        raise UserCodeError(f"{where}: `{reference}` returned nothing. Is its `return` missing?")
    return made


def _imported(module: str, reference: str, where: str, folder: Path) -> Any:
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _failed(module, where, error, folder) from error
        names = [path.stem for path in folder.glob("*.py")]
        near = get_close_matches(module, names, n=1)
        hint = f" Did you mean `{near[0]}:{reference.partition(':')[2]}`?" if near else ""
        raise UserCodeError(
            f"{where}: there is no module `{error.name}`, neither in {folder.resolve()} nor installed.{hint}"
        ) from None
    except (Exception, SystemExit) as error:
        raise _failed(module, where, error, folder) from error
    beside, file = folder.resolve() / f"{module}.py", getattr(found, "__file__", None)
    if beside.exists() and (file is None or Path(file).resolve() != beside.resolve()):
        raise UserCodeError(
            f"{where}: `{module}` is {file or 'built into Python'}, which was imported before. Give the file "
            f"{beside} another name."
        )
    return found


def _failed(module: str, where: str, error: BaseException, folder: Path) -> UserCodeError:
    return UserCodeError(
        f"{where}: the module `{module}` cannot be imported: {_told(error, folder)}"
    )


def _told(error: BaseException, folder: Path) -> str:
    """Says what was raised and, where the code is beside the configuration, by which line."""
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, SyntaxError):  # It names the place itself.
        return said
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if _is_beside(frame.filename, folder.resolve())
    ]
    return f"{said} ({own[-1].filename}, line {own[-1].lineno})" if own else said


def _is_beside(file: str, folder: Path) -> bool:
    """Says whether code is in the folder or below it, and is of no library that is installed there."""
    place = Path(file).resolve()
    # `<frozen os>` and its like are no files.
    return (
        not file.startswith("<")
        and place.is_relative_to(folder)
        and "site-packages" not in place.relative_to(folder).parts
    )
