"""Where a search space comes from: YAML, presets and files."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Mapping
from functools import cache
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from recdrop_tune.errors import SearchSpaceError, shown
from recdrop_tune.problems import Keys, suggestion

# Reads YAML safely and strictly, and knows on which line everything is.

_MOST_BYTES, _MOST_NODES = 200_000, 20_000
"""What nobody writes: a larger text takes seconds to read, and aliases can double with each line."""


class _Loader(yaml.SafeLoader):
    """The safe loader, which also refuses a key written twice and reads `1e-3` as a number.

    It says of every fault where it is, and refuses aliases that would grow beyond measure.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Builds a value; PyYAML itself would let some errors of Python out, without a place."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
            tag = node.tag.removeprefix("tag:yaml.org,2002:")
            raise yaml.constructor.ConstructorError(
                None, None, f"{shown(node.value)} is no {tag} ({error})", node.start_mark
            ) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Builds a mapping; PyYAML itself would silently keep the last of two equal keys."""
        if not isinstance(node, yaml.MappingNode):  # Something else with the tag of one.
            raise yaml.constructor.ConstructorError(
                None, None, f"expected a mapping, but found a {node.id}", node.start_mark
            )
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{key.value}` is there twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# PyYAML follows YAML 1.1, in which `1e-3` is a string; YAML 1.2 and the user mean the number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"),
    list("-+0123456789"),
)


def read_text(path: str | os.PathLike[str]) -> str:
    """Reads a file that is to hold YAML.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no UTF-8, or larger than what anybody writes, or no plain file; or the path has a
            NUL.
    """
    # Of a pipe, opening it waits for its other end, and a terminal is read for ever.
    if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
        raise ValueError(
            "it is no plain file but a pipe, a device or the like; save it to a file first"
        )
    with open(path, "rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES:,} bytes")
    return content.decode("utf-8")


def parse(text: str, where: str) -> tuple[Any, dict[Keys, int]]:
    """Reads a document of plain data.

    Args:
        text: The document.
        where: What errors call it.

    Returns:
        The data, and the line of each key and item, from 1, by the path that leads there.

    Raises:
        yaml.YAMLError: It is no YAML, a key is there twice, or it asks for more than plain data.
    """
    loader = _Loader(text)
    loader.name = where
    try:
        node = loader.get_single_node()
        if node is not None and _expanded(node, {}) > _MOST_NODES:
            raise yaml.constructor.ConstructorError(
                None, None, "aliases make it endless, or far too large", node.start_mark
            )
        lines: dict[Keys, int] = {}
        _note_lines(node, (), lines)
        return (None if node is None else loader.construct_document(node)), lines
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    finally:
        loader.dispose()


def _expanded(node: yaml.Node, known: dict[int, float]) -> float:
    """Counts the nodes of a document with each alias replaced by what it stands for."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf  # Where it comes upon itself.
        parts = chain(*node.value) if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_expanded(part, known) for part in parts)
    return known[id(node)]


def _note_lines(node: Any, path: Keys, lines: dict[Keys, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        entries = [(key.value, key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        entries = [(number, value, value) for number, value in enumerate(node.value)]
    else:
        return
    for name, mark, value in entries:
        # An anchor can hold itself; a key can be a mapping, which no path can name.
        if isinstance(name, str | int) and (*path, name) not in lines and len(path) < _DEEPEST:
            lines[(*path, name)] = mark.start_mark.line + 1
            _note_lines(value, (*path, name), lines)


_DEEPEST = 3
"""Nobody asks for the line of what is nested deeper, and aliases could make endlessly much of it."""


# Where a search space comes from: a YAML file, one of the presets, or a mapping.

Source = tuple[Mapping[Any, Any], str, Mapping[Keys, int]]
"""The mapping that was read, what errors call its source, and the line of each key of a file."""


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


def read_source(source: object) -> Source:
    """Reads the mapping of a search space.

    Raises:
        SearchSpaceError: There is no such file or preset, or it holds no mapping.
    """
    if isinstance(source, Mapping):
        return source, "the dict", {}
    if isinstance(source, os.PathLike):
        return _read_file(source)
    if isinstance(source, str):
        named_file = source.endswith((".yaml", ".yml"))
        return _read_file(source) if named_file else _preset(source)
    known = ", ".join(preset_names())
    expected = f"a SearchSpace, a dict, the path of a YAML file or a preset ({known})"
    raise _refused(expected, f"space={shown(source)}")


def _read_file(source: str | os.PathLike[str]) -> Source:
    try:
        path = Path(source)
        text = read_text(path.expanduser())
    # A NUL in the path and what is no UTF-8 are a ValueError, a user without a home is a RuntimeError.
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        given = str(source) if isinstance(source, Path) else source
        expected = f"a readable YAML file or a preset ({', '.join(preset_names())})"
        raise _refused(expected, f"space={shown(given)} ({error})") from error
    return _parse(text, str(path))


@cache
def _preset(name: str) -> Source:
    """Reads a preset once: a build function asks for it on every build."""
    names = preset_names()
    if name not in names:
        expected = f"one of the presets ({', '.join(names)}) or a path that ends in .yaml or .yml"
        raise _refused(expected, f"space={shown(name)}", suggestion(name, names))
    text = (preset_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    return _parse(text, f"preset {name}")


def _parse(text: str, where: str) -> Source:
    try:
        data, lines = parse(text, where)
    except yaml.YAMLError as error:
        raise _refused(f"{where} to hold valid YAML", str(error)) from error
    if not isinstance(data, Mapping):
        expected = f"{where} to hold a mapping, such as `wrapper: [none, recurrent]`"
        raise _refused(expected, shown(data))
    return data, where, lines


def _refused(expected: str, received: str, fix: str = "") -> SearchSpaceError:
    """Makes an error about the argument `space` itself, not about what it holds."""
    text = f"Invalid value received for argument `space`. Expected {expected}. Received: {received}"
    error = SearchSpaceError(f"{text}. {fix}" if fix else text)
    error.argument = "space"
    return error
