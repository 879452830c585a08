"""Reads documents that users write: YAML with the line of each key, and pydantic's errors in our words.

The words are the place, what was expected and received, and a near miss. A type that can explain more than
pydantic raises `invalid_argument`, whose words are kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from recdrop_tune.errors import InvalidArgumentError, RecdropError, invalid_argument, suggestion

Keys = tuple[str | int, ...]
"""The keys and list positions that lead to a value, such as `("tuner", "sampler")`."""


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


def read_yaml(path: str | os.PathLike[str]) -> tuple[Any, dict[Keys, int]]:
    """Returns the data of a file, and the line of each key and list item (from 1) by its path."""
    try:
        loader = _Loader(Path(path).expanduser().read_text(encoding="utf-8"))
        loader.name = str(path)
        node = loader.get_single_node()
        lines: dict[Keys, int] = {}
        _note_lines(node, (), lines)
        return (None if node is None else loader.construct_document(node)), lines
    # PyYAML raises `KeyError` for `!!bool x`, and others for other tags.
    except Exception as error:
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


_AROUND = "^(Input should be|Input is not|Value error,) | for <class .*>$"
_UNKNOWN = ("extra_forbidden", "invalid_key", "unexpected_keyword_argument")


def explain(
    error: ValidationError,
    data: Any,
    names: Mapping[Keys, Iterable[str]],
    where: Callable[[Keys], str] = lambda keys: "",
) -> InvalidArgumentError:
    """Returns pydantic's error as one with a line for each wrong value, and the attributes of the first one.

    `data` is what pydantic validated; it tells keys apart from the members of unions that it tried. `names`
    are those allowed at each place, for "Did you mean". `where` returns the place of a value in a file, such
    as `"search.yaml, line 3"`.
    """
    found: dict[Keys, list[Any]] = {}
    for problem in error.errors():
        found.setdefault(_keys(problem, data), []).append(problem)
    # A mapping fits none of a union's other members, but what matters is what is wrong inside it.
    inner = [keys for keys in found if not any(k[: len(keys)] == keys != k for k in found)]
    errors = [_as_argument_error(keys, found[keys], names) for keys in inner]
    lines = [
        f"{place}: {each}" if (place := where(keys or (each.argument,))) else str(each)
        for keys, each in zip(inner, errors, strict=True)
    ]
    message = InvalidArgumentError("\n".join(lines))
    vars(message).update(vars(errors[0]))
    return message


def _keys(problem: Any, data: Any) -> Keys:
    """Leaves the members of unions out of pydantic's path to a value."""
    keys: list[str | int] = []
    for part in problem["loc"]:
        is_key = isinstance(data, Mapping) and part in data
        if is_key or (isinstance(data, list | tuple) and isinstance(part, int)):
            data = data[part]
        elif problem["type"] != "missing" or part != problem["loc"][-1]:
            continue  # A member of a union.
        keys.append(part)
    return tuple(keys)


def _as_argument_error(
    keys: Keys, problems: list[Any], names: Mapping[Keys, Iterable[str]]
) -> InvalidArgumentError:
    """Makes one error of what the members of a union expected of one value."""
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
    if problems[0]["type"] in _UNKNOWN:
        known, word = list(names.get(keys[:-1], ())), str(keys[-1]) if keys else ""
        # A setting given one level too high is a near miss too.
        groups = [above[0] for above in names if above and word in names[above]]
        fix = suggestion(word, known)
        if not fix and groups:
            fix = f"Did you mean `{groups[0]}.{word}`?"
        elif not fix:
            fix = f"There are: {', '.join(known)}."
        error = InvalidArgumentError(f"There is no `{path}`. {fix}")
        error.argument, error.fix = path, fix
        return error
    if problems[0]["type"] == "missing":
        return invalid_argument(path, expected="a value", received=None)
    cause = problems[0].get("ctx", {}).get("error")
    if len(problems) == 1 and isinstance(cause, InvalidArgumentError):
        return cause.renamed(path) if path else cause
    expected = " or ".join(re.sub(_AROUND, "", each["msg"]) for each in problems)
    received = problems[0]["input"]
    fix = suggestion(received, re.findall("'(.+?)'", expected))
    return invalid_argument(path, expected=expected, received=received, fix=fix)
