"""Reads a configuration, and says what is wrong with it, and on which line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import click
import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Tag,
    ValidationError,
    model_validator,
)

from recdrop_tune.errors import SearchSpaceError, shown
from recdrop_tune.spaces import Report, SearchSpace, parse, read_fields, read_text, suggestion

# The configuration of `recdrop-tune run`: the arguments of `tune` that make sense in a file.


def _named(text: str) -> str:
    module, _, name = text.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise ValueError("`module:function`, such as `data:load`")
    return text


Reference = Annotated[str, AfterValidator(_named)]
"""A function of the user's, as `module:function`."""


def _form(value: object) -> str:
    return "<text>" if isinstance(value, str) else "<list>" if isinstance(value, list) else "<map>"


def _text_or_map(value: object) -> str:
    return "<text>" if isinstance(value, str) else "<map>"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DataFunctions(_Strict):
    """A function for each set of data.

    Attributes:
        train: Makes the training data.
        validation: Makes the validation data.
        test: Makes the data that a confirmation looks at.
    """

    train: Reference
    validation: Reference | None = None
    test: Reference | None = None


class Goal(_Strict):
    """A metric whose name does not tell whether more of it is better.

    Attributes:
        name: The metric.
        direction: Whether it is to shrink or to grow.
    """

    name: str
    direction: Literal["min", "max"]


_Data = Annotated[
    Annotated[Reference, Tag("<text>")] | Annotated[DataFunctions, Tag("<map>")],
    Discriminator(_text_or_map),
]
_Space = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[dict[Any, Any], Tag("<map>")],
    Discriminator(_text_or_map),
]
_Metric = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[Goal, Tag("<map>")], Discriminator(_text_or_map)
]
_Objective = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[list[_Metric], Tag("<list>")]
    | Annotated[Goal, Tag("<map>")],
    Discriminator(_form),
]


class RunConfig(_Strict):
    """What a configuration says; a key that is left out has the default of `tune`.

    The keys are the arguments of `recdrop_tune.tune`, but for `data`, which makes `train`, `validation` and
    `test`, and for `validation_split`, which is Keras's.
    """

    data: _Data
    space: _Space = "quick"
    hypermodel: Reference | None = None
    objective: _Objective = "val_loss"
    tuner: str = "optuna"
    max_trials: int = 20
    epochs: int = 20
    batch_size: int = 32
    validation_split: float = 0.0
    seed: int | None = None
    experiment: str = "recdrop-tune"
    tracking_uri: str | None = None
    directory: str | None = None
    overwrite: bool = False
    sampler: str | None = None
    pruner: str | None = None
    storage: str | None = None
    timeout: float | None = None
    executions_per_trial: int = 1
    cv: int | None = None
    confirm: int = 0
    confirm_seeds: int = 5
    register_model: str | None = None
    system_metrics: bool = False
    keep_checkpoints: int | None = 5
    reuse_models: int = 4
    callbacks: list[Reference] = []
    workers: int | None = None
    gpus_per_trial: float | None = None
    cpus_per_trial: float = 1
    ray_address: str | None = None
    trial_timeout: float | None = None
    verbose: int = 1

    @model_validator(mode="after")
    def _one_space(self) -> Self:
        if self.hypermodel is not None and "space" in self.model_fields_set:
            raise ValueError("no `space` beside a `hypermodel`, which has its own")
        return self

    def given(self) -> dict[str, Any]:
        """Returns the arguments of `tune` that are given as they are; the others have to be made."""
        made = {"data", "space", "hypermodel", "objective", "callbacks"}
        return {name: getattr(self, name) for name in self.model_fields_set - made}


_EXPECTED = {
    "int_type": "an integer",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a mapping",
    "literal_error": "min or max",
}
Keys = tuple[str | int, ...]
Lines = Mapping[Keys, int]

_MAPPINGS: dict[str, type[BaseModel]] = {"data": DataFunctions, "objective": Goal}
_ARGUMENTS = {"train": "data", "validation": "data", "test": "data"}
"""Arguments of `tune` that have another name in a configuration."""


_ARGUMENT = re.compile(r"Invalid value received for argument `(\w+)`")
_NUMBER = re.compile(r"Received: \w+=(-?\d\S*)")
_OBJECTIVE = re.compile(r"Pass keras_tuner\.Objective\('(.*?)', direction='min'\) or 'max'\.")


@dataclass(frozen=True)
class ConfigFile:
    """A configuration that has been read.

    Attributes:
        path: The file.
        config: What it says, options of the command line included.
        lines: The line of each key.
        options: The keys that the command line has said.
    """

    path: Path
    config: RunConfig
    lines: Lines
    options: frozenset[str] = field(default=frozenset())

    def where(self, *keys: str | int) -> str:
        """Names the file and the line of a key.

        Example:
            >>> file.where("data", "train")
            'search.yaml, line 3'
        """
        return located(self.path, self.lines, keys)

    def explained(self, message: str) -> str:
        """Puts the place in front of an error of `tune` that names one of its arguments."""
        message = _OBJECTIVE.sub(r"Write `objective: {name: \1, direction: min}`, or max.", message)
        found = _ARGUMENT.match(message)
        key = _ARGUMENTS.get(found[1], found[1]) if found else ""
        if not found or key in self.options or (key,) not in self.lines:
            return message
        value, received = getattr(self.config, key), _NUMBER.search(message)
        # Code of the user's may have an argument of the same name.
        if isinstance(value, int | float) and received and received[1].rstrip(".") != shown(value):
            return message
        keys = (key, found[1]) if (key, found[1]) in self.lines else (key,)
        return f"{self.where(*keys)}: {message}"

    def space(self) -> SearchSpace:
        """Reads the search space: a preset, a file relative to this one, or what is written here.

        Raises:
            click.ClickException: There is no such space, or something is wrong with it.
        """
        given = self.config.space
        try:
            if isinstance(given, dict):
                return SearchSpace(
                    **read_fields(given, Report(f"`space` of {self.where('space')}"))
                )
            if given.endswith((".yaml", ".yml")):
                # What a tilde stands for is found, or not, where the file is opened.
                at_home = given.startswith("~")
                return SearchSpace.load(given if at_home else self.path.parent / given)
            return SearchSpace.load(given)
        except SearchSpaceError as error:
            raise click.ClickException(self.explained(str(error))) from None


def read_config(path: Path, options: Mapping[str, Any]) -> ConfigFile:
    """Reads a configuration.

    Args:
        path: The YAML file.
        options: What the command line says instead.

    Raises:
        click.ClickException: It cannot be read, or something is wrong with it; every problem has a line.
    """
    try:
        raw, lines = parse(read_text(path), str(path))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise click.ClickException(f"{path} is no valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise click.ClickException(
            f"{path} holds no configuration: expected a mapping, such as `data: my_data:load`."
        )
    try:
        config = RunConfig.model_validate({**raw, **options})
    except ValidationError as error:
        problems = [_problem(path, lines, each) for each in error.errors()]
        raise click.ClickException("\n".join(text for _, text in sorted(problems))) from None
    return ConfigFile(path, config, lines, frozenset(options))


def located(path: Path, lines: Lines, keys: Keys) -> str:
    """Names a file and the line of a key, or of the nearest one above it."""
    line = _line(lines, keys)
    return f"{path}, line {line}" if line else str(path)


def _line(lines: Lines, keys: Keys) -> int:
    while keys and keys not in lines:
        keys = keys[:-1]
    return lines[keys] if keys else 0


def _problem(path: Path, lines: Lines, error: Any) -> tuple[int, str]:
    """Words one problem; its line comes first."""
    keys = tuple(part for part in error["loc"] if not str(part).startswith("<"))
    said = error["msg"].removeprefix("Value error, ")
    if keys:
        text = _worded(error["type"], keys, error["input"], said)
    else:  # What is said of several keys together is about this one.
        keys, text = ("space",), f"expected {said}."
    return _line(lines, keys), f"{located(path, lines, keys)}: {text}"


def _worded(kind: str, keys: Keys, value: object, said: str) -> str:
    name = ".".join(map(str, keys))
    if kind in ("extra_forbidden", "invalid_key"):
        model = _MAPPINGS[str(keys[0])] if len(keys) > 1 else RunConfig
        known = tuple(model.model_fields)
        near = suggestion(keys[-1], known, name.rpartition(".")[0] + "." if len(keys) > 1 else "")
        return f"invalid key `{name}`. {near or 'Expected one of ' + ', '.join(known) + '.'}"
    if kind == "missing":
        return f"the key `{name}` is missing. {_HINTS.get(name, '')}".rstrip()
    forms = _FORMS if len(keys) == 1 else _ITEMS
    form = forms.get(str(keys[0])) if kind in ("model_type", "dict_type") else None
    expected = form or _EXPECTED.get(kind, said)
    return f"invalid value for `{name}`. Expected {expected}. Received: {name}={shown(value)}"


_HINTS = {"data": "It names the function that makes the data, such as `data: my_data:load`."}
_FORMS = {
    "data": "`module:function`, or a mapping of `train`, `validation` and `test` to such",
    "space": "a preset, a YAML file, or a mapping",
    "objective": "a metric, a list of metrics, or a mapping of `name` and `direction`",
}
_ITEMS = {"objective": "a metric, or a mapping of `name` and `direction`"}
