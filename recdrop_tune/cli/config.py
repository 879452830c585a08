"""The YAML file of `recdrop-tune run`: the arguments of `tune`, and the functions that make the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from recdrop_tune.documents import Keys, explain, read_yaml
from recdrop_tune.errors import (
    RecdropError,
    SearchSpaceError,
    format_repr,
    invalid_argument,
)
from recdrop_tune.search import (
    CLASSES,
    Reference,
    SearchConfig,
    known_names,
    settings_class,
    settings_of,
)
from recdrop_tune.spaces import SearchSpace


@settings_class
class RunFile(SearchConfig):
    """The contents of a file.

    Attributes:
        data: `module:function` that returns `(train, validation)` or `(train, validation, test)`; or a
            mapping of `train`, `validation` and `test` to one function each.
        backend: Keras's backend.
    """

    data: Reference | dict[Literal["train", "validation", "test"], Reference] = field(kw_only=True)
    backend: Literal["tensorflow", "jax", "torch"] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Checks the arguments together."""
        if isinstance(self.data, dict) and "train" not in self.data:
            raise invalid_argument("data", expected="a function for `train`", received=self.data)
        if isinstance(self.data, dict) and "test" in self.data and not self.confirm:
            expected = "no `test` without `confirm`, which alone uses it"
            raise invalid_argument("data", expected=expected, received=self.data)


@dataclass(frozen=True)
class ConfigFile:
    """A file that has been read, with the lines of the keys that no option replaces."""

    path: Path
    data: Mapping[str, Any]
    lines: Mapping[Keys, int]

    def where(self, keys: Keys) -> str:
        """Returns the place of a key, such as `"search.yaml, line 3"`."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return f"{self.path}, line {self.lines[keys]}" if keys else ""

    def explained(self, error: RecdropError) -> str:
        """Puts the line in front of an error about an argument of `tune`."""
        name = getattr(error, "argument", "")
        places = [(name,), *((group, name) for group in (*CLASSES, "data"))]
        keys = next((keys for keys in places if keys in self.lines), None)
        if keys is None:
            return str(error)
        value: Any = reduce(getitem, keys, self.data)
        # The user's code may have an argument with the same name.
        received = getattr(error, "received", "")
        is_another = isinstance(value, int | float) and received != format_repr(value)
        return str(error) if is_another else f"{self.where(keys)}: {error}"

    def checked(self) -> tuple[RunFile, SearchSpace | None]:
        """Returns the contents and the search space; raises one error with a line for each problem."""
        checked: list[Any] = []
        problems: list[str] = []
        for part in (self.config, self.space):
            try:
                checked.append(part())
            except RecdropError as error:
                problems.append(str(error))
        if problems:
            raise RecdropError("\n".join(problems))
        return checked[0], checked[1]

    def config(self) -> RunFile:
        """Returns the checked contents."""
        try:
            return settings_of(RunFile, self.data)
        except ValidationError as error:
            names = {**known_names(RunFile), ("data",): ["train", "validation", "test"]}
            raise explain(error, self.data, names, self.where) from None

    def space(self) -> SearchSpace | None:
        """Reads the search space: a preset, a file relative to this one, or a mapping in this file."""
        space = self.data.get("space")
        if space is None:
            return None
        if isinstance(space, dict):
            return SearchSpace.read(space, lambda keys: self.where(("space", *keys)))
        if isinstance(space, str) and space.endswith((".yaml", ".yml")):
            space = self.path.parent / Path(space).expanduser()
        try:
            return SearchSpace.load(space)
        except SearchSpaceError as error:
            raise RecdropError(f"{self.where(('space',))}: {error}") from None


def read_config(path: Path, options: Mapping[str, Any]) -> ConfigFile:
    """Reads a file; `options` of the command line replace parts of it."""
    data, lines = read_yaml(path)
    if not isinstance(data, dict):
        raise RecdropError(f"{path} has no mapping, such as `data: my_data:load`.")
    if "workers" in options and isinstance(data.get("workers"), dict):
        options = {**options, "workers": {**data["workers"], "number": options["workers"]}}
    decided = {keys: line for keys, line in lines.items() if keys[0] not in options}
    return ConfigFile(path, {**data, **options}, decided)
