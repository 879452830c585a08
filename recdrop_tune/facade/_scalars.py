"""Checks of single arguments of `tune`: numbers, flags and names."""

from __future__ import annotations

import os
from numbers import Integral
from pathlib import Path
from typing import Any

from recdrop_tune._arguments import LONGEST_NAME, check_flag, check_integer, is_name
from recdrop_tune.errors import invalid_argument


def check_integers(**numbers: Any) -> list[int]:
    """Returns numbers as Python's own integers.

    Raises:
        InvalidArgumentError: One is no integer of at least 1, or too large for a tensor's size.
    """
    return [check_integer(argument, value) for argument, value in numbers.items()]


def check_flags(**flags: Any) -> None:
    """Raises unless all arguments are true or false: `"no"` would pass for true."""
    for argument, value in flags.items():
        check_flag(argument, value)


def expanded(directory: str | os.PathLike[str]) -> Path:
    """Returns a folder with the user's home in the place of `~`.

    Raises:
        InvalidArgumentError: It is in the home of a user whom this machine does not know.
    """
    try:
        return Path(directory).expanduser()
    except RuntimeError as error:
        expected = "a folder; no home is known for the user in it"
        raise invalid_argument("directory", expected=expected, received=str(directory)) from error


def check_words(experiment: Any, directory: Any, verbose: Any) -> None:
    """Raises unless the experiment has a name, the directory is a path and the verbosity a level."""
    if not is_name(experiment):
        expected = f"a name of at most {LONGEST_NAME} characters, in one line"
        raise invalid_argument("experiment", expected=expected, received=experiment)
    if directory is not None and (not isinstance(directory, str | os.PathLike) or directory == ""):
        raise invalid_argument("directory", expected="a path or None", received=directory)
    if not isinstance(verbose, Integral) or verbose not in (0, 1, 2):
        raise invalid_argument("verbose", expected="0, 1 or 2", received=verbose)
