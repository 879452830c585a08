"""Reads YAML strictly, and notes the line of every key."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from recdrop_tune.errors import RecdropError


class _Loader(yaml.SafeLoader):
    """The safe loader, which also reads `1e-3` as a number and refuses duplicate keys and aliases."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuses a key given twice: PyYAML would silently keep the last value."""
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                text = f"the key `{key.value}` is given twice"
                raise yaml.constructor.ConstructorError(None, None, text, key.start_mark)
            seen.add(key.value)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuses aliases, because a short text with them can fill the memory."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not supported", mark)
        return super().compose_node(parent, index)


# PyYAML follows YAML 1.1, where `1e-3` is text. YAML 1.2 and the user mean the number.
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+0123456789"))


def read_yaml(path: str | os.PathLike[str]) -> tuple[Any, dict[tuple[str | int, ...], int]]:
    """Returns the data of a file, and the line of each key and list item (from 1) by its path."""
    try:
        loader = _Loader(Path(path).expanduser().read_text(encoding="utf-8"))
        loader.name = str(path)
        node = loader.get_single_node()
        lines: dict[tuple[str | int, ...], int] = {}
        _note_lines(node, (), lines)
        return (None if node is None else loader.construct_document(node)), lines
    except (
        Exception
    ) as error:  # PyYAML raises `KeyError` for `!!bool x`, and others for other tags.
        raise RecdropError(f"{path} cannot be read: {error}") from error


def _note_lines(node: Any, path: tuple[Any, ...], lines: dict[tuple[Any, ...], int]) -> None:
    if isinstance(node, yaml.MappingNode):
        entries = [(key.value, key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        entries = [(number, value, value) for number, value in enumerate(node.value)]
    else:
        return
    for name, mark, value in entries:
        if isinstance(name, Hashable):
            lines[*path, name] = mark.start_mark.line + 1
            _note_lines(value, (*path, name), lines)
