"""Says in words what is wrong with a configuration, and on which line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recdrop_tune.search import error_of, is_unknown_name, place_of
from recdrop_tune.spaces import suggestion

Keys = tuple[str | int, ...]
Lines = Mapping[Keys, int]
Known = Mapping[str, Sequence[str]]

DATA = ("train", "validation", "test")
"""Arguments of `tune` and `Confirm` that are under `data` in a configuration."""


def in_words(error: ValidationError, path: Path, lines: Lines, known: Known) -> str:
    """Writes a line for each problem, in the order of the file.

    Args:
        error: What pydantic found.
        path: The file.
        lines: The line of each key.
        known: The keys that there are, and those of each mapping by its key; at the top by an empty one.
    """
    problems = [_problem(path, lines, each, known) for each in error.errors()]
    return "\n".join(text for _, text in sorted(problems))


def located(path: Path, lines: Lines, keys: Keys) -> str:
    """Names a file and the line of a key, or of the nearest one above it."""
    line = _line(lines, keys)
    return f"{path}, line {line}" if line else str(path)


def _line(lines: Lines, keys: Keys) -> int:
    while keys and keys not in lines:
        keys = keys[:-1]
    return lines[keys] if keys else 0


def _problem(path: Path, lines: Lines, error: Any, known: Known) -> tuple[int, str]:
    """Words one problem; its line comes first."""
    keys = tuple(part for part in error["loc"] if not str(part).startswith("<"))
    if keys:
        text = _worded(error, keys, known)
    else:  # What is said of several keys together is about this one.
        said = error["msg"].removeprefix("Value error, ")
        keys, text = ("space",), f"expected {said}."
    return _line(lines, keys), f"{located(path, lines, keys)}: {text}"


def _worded(problem: Any, keys: Keys, known: Known) -> str:
    name, kind = ".".join(map(str, keys)), problem["type"]
    if is_unknown_name(problem):
        return _unknown(name, keys, problem["input"], known)
    if kind == "missing":
        return f"the key `{name}` is missing. {_HINTS.get(name, '')}".rstrip()
    found = error_of(problem, name)
    forms = _FORMS if len(keys) == 1 else _ITEMS
    form = forms.get(str(keys[0])) if kind in _OTHER_FORM else None
    end = f". {found.fix}" if found.fix else ""
    return (
        f"invalid value for `{name}`. Expected {form or found.expected}. "
        f"Received: {name}={found.received}{end}"
    )


def _unknown(name: str, keys: Keys, value: Any, known: Known) -> str:
    """Says of a key that there is not where its value goes, or which is near."""
    place, group = place_of(name), str(keys[0]) if len(keys) > 1 else ""
    if place is not None and place.argument in known[""] and not group and name not in DATA:
        simple = isinstance(value, str | bool | int | float)
        return f"there is no key `{name}`: write `{place.yaml(str(value) if simple else '...')}`."
    near = suggestion(keys[-1], tuple(known[group]), f"{group}." if group else "")
    return f"invalid key `{name}`. {near or 'Expected one of ' + ', '.join(known[group]) + '.'}"


_OTHER_FORM = ("model_type", "dict_type", "dataclass_type")
_HINTS = {"data": "It names the function that makes the data, such as `data: my_data:load`."}
_FORMS = {
    "data": "`module:function`, or a mapping of `train`, `validation` and `test` to such",
    "space": "a preset, a YAML file, or a mapping",
    "objective": "a metric, a list of metrics, or a mapping of `name` and `direction`",
    "tuner": "a tuner's name, or a mapping of `sampler`, `pruner` and `storage`",
    "training": "a mapping, such as `{executions: 3}`",
    "confirm": "an integer, or a mapping of `top` and `seeds`",
    "workers": "an integer, or a mapping such as `{number: 4, gpus: 0.25}`",
    "tracking": "an experiment's name, or a mapping such as `{experiment: speech, uri: ...}`",
}
_ITEMS = {"objective": "a metric, or a mapping of `name` and `direction`"}
