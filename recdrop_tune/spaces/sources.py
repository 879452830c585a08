"""The presets, and the YAML files of search spaces."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from recdrop_tune.errors import RecdropError, SearchSpaceError
from recdrop_tune.problems import Keys
from recdrop_tune.yaml_file import read_yaml


def preset_folder() -> Path:
    """Returns the folder of the presets: inside an installed package, else next to it."""
    shipped = Path(str(resources.files("recdrop_tune") / "search_spaces"))
    # An editable install maps only the package folder; the presets stay at the top of the repository.
    return shipped if shipped.is_dir() else Path(__file__).parents[2] / "search_spaces"


def preset_names() -> tuple[str, ...]:
    """Returns the names of the presets in alphabetical order."""
    return tuple(sorted(path.stem for path in preset_folder().glob("*.yaml")))


def space_error(message: str) -> SearchSpaceError:
    """Makes an error about the argument `space` itself, not about a key in it."""
    error = SearchSpaceError(message)
    error.argument = "space"
    return error


def read_file(path: str | os.PathLike[str]) -> tuple[Mapping[Any, Any], Callable[[Keys], str]]:
    """Reads the mapping in a file.

    Returns:
        The mapping, and a function that names the place of a key, such as `"space.yaml, line 3"`.

    Raises:
        SearchSpaceError: The file cannot be read, or does not hold a mapping.
    """
    try:
        data, lines = read_yaml(path)
    except RecdropError as error:
        raise space_error(str(error)) from error
    if not isinstance(data, Mapping):
        example = "Expected a mapping, such as `wrapper: [none, recurrent]`."
        raise space_error(f"{path} is not a search space. {example}")

    def where(keys: Keys) -> str:
        while keys and keys not in lines:
            keys = keys[:-1]
        return f"{path}, line {lines[keys]}" if keys else str(path)

    return data, where
