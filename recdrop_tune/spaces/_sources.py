"""Where a search space comes from: a YAML file, one of the presets, or a mapping."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from recdrop_tune.errors import SearchSpaceError, shown
from recdrop_tune.spaces._report import suggestion
from recdrop_tune.spaces._yaml import parse, read_text


def preset_folder() -> Any:
    """Returns the folder of the presets: inside the package once installed, else beside it."""
    shipped = resources.files("recdrop_tune") / "search_spaces"
    # An editable install maps the package folder only; the presets stay at the repository's top.
    return shipped if shipped.is_dir() else Path(__file__).parents[2] / "search_spaces"


def preset_names() -> tuple[str, ...]:
    """Lists the presets, in alphabetical order."""
    folder = preset_folder()
    names = [item.name for item in folder.iterdir()] if folder.is_dir() else []
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def read_source(source: object) -> tuple[str, Mapping[Any, Any]]:
    """Reads what a search space is given as.

    Returns:
        How an error message is to name the source, and the mapping that it holds.

    Raises:
        SearchSpaceError: There is no such file or preset, or it holds no mapping.
    """
    if isinstance(source, Mapping):
        return "the dict", source
    if isinstance(source, os.PathLike):
        return _read_file(source)
    if isinstance(source, str):
        named_file = source.endswith((".yaml", ".yml"))
        return _read_file(source) if named_file else (f"preset {source}", _preset(source))
    raise SearchSpaceError(
        "Invalid value received for argument `space`. Expected a SearchSpace, a dict, the path of a "
        f"YAML file or a preset ({', '.join(preset_names())}). Received: space={shown(source)}"
    )


def _read_file(source: str | os.PathLike[str]) -> tuple[str, Mapping[Any, Any]]:
    try:
        path = Path(source)
        text = read_text(path.expanduser())
    # A NUL in the path and what is no UTF-8 are a ValueError, a user without a home is a RuntimeError.
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        given = str(source) if isinstance(source, Path) else source
        raise SearchSpaceError(
            "Invalid value received for argument `space`. Expected a readable YAML file "
            f"or a preset ({', '.join(preset_names())}). Received: space={shown(given)} ({error})"
        ) from error
    return str(path), _parse(text, str(path))


@cache
def _preset(name: str) -> Mapping[Any, Any]:
    """Reads a preset once: a build function asks for it on every build."""
    names = preset_names()
    if name not in names:
        message = (
            "Invalid value received for argument `space`. Expected one of the presets "
            f"({', '.join(names)}) or a path that ends in .yaml or .yml. Received: space={shown(name)}"
        )
        near = suggestion(name, names)
        raise SearchSpaceError(f"{message}. {near}" if near else message)
    text = (preset_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    return _parse(text, f"preset {name}")


def _parse(text: str, where: str) -> Mapping[Any, Any]:
    try:
        data, _ = parse(text, where)
    except yaml.YAMLError as error:
        raise SearchSpaceError(
            f"Invalid value received for argument `space`. Expected {where} to hold valid YAML. "
            f"Received: {error}"
        ) from error
    if not isinstance(data, Mapping):
        raise SearchSpaceError(
            f"Invalid value received for argument `space`. Expected {where} to hold a mapping, such "
            f"as `wrapper: [none, recurrent]`. Received: {shown(data)}"
        )
    return data
