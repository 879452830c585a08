"""Where a search space comes from: a YAML file, one of the presets, or a mapping."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from recdrop_tune.errors import SearchSpaceError, shown
from recdrop_tune.spaces._report import suggestion

_MOST_BYTES, _MOST_NODES = 200_000, 20_000
"""What no search space needs: a larger text takes seconds to read, and aliases can double with each line."""


class _Loader(yaml.SafeLoader):
    """The safe loader, which also refuses a key written twice and reads `1e-3` as a number.

    It says of every fault where it is, and refuses aliases that would grow beyond measure.
    """

    def get_single_data(self) -> Any:
        """Builds the document, unless it is larger than any search space."""
        node = self.get_single_node()
        if node is None:
            return None
        if _expanded(node, {}) > _MOST_NODES:
            raise yaml.constructor.ConstructorError(
                None, None, "aliases make it endless, or far too large", node.start_mark
            )
        return self.construct_document(node)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Builds a value; PyYAML itself would let some errors of Python out, without a place."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError) as error:
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


def _expanded(node: yaml.Node, known: dict[int, float]) -> float:
    """Counts the nodes of a document with each alias replaced by what it stands for."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf  # Where it comes upon itself.
        parts = chain(*node.value) if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_expanded(part, known) for part in parts)
    return known[id(node)]


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
        with path.expanduser().open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES:,} bytes")
        text = content.decode("utf-8")
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
        data = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
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
