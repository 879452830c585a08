"""Reads a configuration, and says what is wrong with it, and on which line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal

import click
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Tag,
    ValidationError,
)

from recdrop_tune.backends import BACKENDS
from recdrop_tune.catalog import TASK_NAMES
from recdrop_tune.errors import InvalidArgumentError, RecdropError, SearchSpaceError, shown
from recdrop_tune.problems import Keys, forms, in_words, line_of
from recdrop_tune.search import (
    CLASSES,
    EXPERIMENT,
    Confirm,
    MLflow,
    Optuna,
    Task,
    Training,
    Workers,
    by,
    checked,
    fields_of,
)
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.yaml_file import read_yaml

# The configuration of `recdrop-tune run`: the arguments of `tune` that make sense in a file.


def _named(text: str) -> str:
    module, _, name = text.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise ValueError("`module:function`, such as `data:load`")
    return text


def _model_or_task(text: str) -> str:
    if ":" not in text and text not in TASK_NAMES:
        raise ValueError(f"`module:function`, or a task: {', '.join(TASK_NAMES)}")
    return _named(text) if ":" in text else text


Reference = Annotated[str, AfterValidator(_named)]
"""A function of the user's, as `module:function`."""


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


def _not_here(value: Any) -> Any:
    raise ValueError("nothing: `data` names the function that makes the test data")


def _backend(value: Any) -> Any:
    if value is not None and value not in BACKENDS:
        raise ValueError(f"one of {', '.join(BACKENDS)}")
    return value


def _listed(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError("a list of `module:function`")
    return value


@checked
class FileTraining(Training):
    """`Training` as a file says it: its callbacks, and what makes its groups, are named."""

    callbacks: Annotated[list[Reference], BeforeValidator(_listed)] = field(default_factory=list)
    groups: Reference | None = None


@checked
class FileConfirm(Confirm):
    """`Confirm` as a file says it: its data are under `data`."""

    test: Annotated[Any, by(_not_here)] = None


_Text = Annotated[str, Tag("<text>")]
_Goal = Annotated[Goal, Tag("<objective>")]
_Metric = Annotated[
    _Text | _Goal,
    forms("a metric, or a mapping of `name` and `direction`", text=str, objective=dict),
]


class RunConfig(_Strict):
    """What a configuration says; a key that is left out has the default of `tune`.

    The keys are the arguments of `recdrop_tune.tune`, but for `data`, which makes `train`, `validation` and
    the test data of the confirmation, and for Keras's `backend`. A mapping under `tuner`, `training`,
    `confirm`, `workers` or `tracking` has the arguments of `Optuna`, `Training`, `Confirm`, `Workers` or
    `MLflow`.
    """

    data: Annotated[
        Annotated[Reference, Tag("<text>")] | Annotated[DataFunctions, Tag("<data>")],
        forms(
            "`module:function`, or a mapping of `train`, `validation` and `test` to such",
            text=str,
            data=dict,
        ),
    ]
    model: Annotated[
        Annotated[None, Tag("<none>")]
        | Annotated[str, AfterValidator(_model_or_task), Tag("<text>")]
        | Annotated[Task, Tag("<model>")],
        forms(
            "`module:function`, a task, or a mapping such as `{name: tagging, mask_value: 0}`",
            none=NoneType,
            text=str,
            model=dict,
        ),
    ] = None
    space: Annotated[
        Annotated[None, Tag("<none>")] | _Text | Annotated[dict[Any, Any], Tag("<space>")],
        forms("a preset, a YAML file, or a mapping", text=str, space=dict, none=NoneType),
    ] = None
    objective: Annotated[
        _Text | Annotated[list[_Metric], Tag("<list>")] | _Goal,
        forms(
            "a metric, a list of metrics, or a mapping of `name` and `direction`",
            text=str,
            list=list,
            objective=dict,
        ),
    ] = "val_loss"
    max_trials: int = 20
    epochs: int = 20
    batch_size: int = 32
    timeout: float | None = None
    tuner: Annotated[
        _Text | Annotated[Optuna, Tag("<tuner>")],
        forms(
            "a tuner's name, or a mapping such as `{sampler: tpe, pruner: none}`",
            text=str,
            tuner=dict,
        ),
    ] = "optuna"
    training: Annotated[
        Annotated[None, Tag("<none>")] | Annotated[FileTraining, Tag("<training>")],
        forms("a mapping, such as `{executions: 3}`", none=NoneType, training=dict),
    ] = None
    confirm: Annotated[
        Annotated[int, Tag("<number>")] | Annotated[FileConfirm, Tag("<confirm>")],
        forms("an integer, or a mapping of `top` and `seeds`", number=int, confirm=dict),
    ] = 0
    workers: Annotated[
        Annotated[int | None, Tag("<number>")] | Annotated[Workers, Tag("<workers>")],
        forms(
            "an integer, or a mapping such as `{number: 4, gpus: 0.25}`",
            number=(int, NoneType),
            workers=dict,
        ),
    ] = None
    tracking: Annotated[
        _Text | Annotated[MLflow, Tag("<tracking>")],
        forms(
            "an experiment's name, or a mapping such as `{experiment: speech, uri: ...}`",
            text=str,
            tracking=dict,
        ),
    ] = EXPERIMENT
    directory: str | None = None
    seed: int | None = None
    verbose: int = 1
    overwrite: bool = False
    backend: Annotated[str | None, BeforeValidator(_backend)] = None

    def plain_arguments(self) -> dict[str, Any]:
        """Returns the arguments of `tune` that the file says; the others are made from what it says."""
        others = {"data", "space", "model", "objective", "training", "confirm", "backend"}
        return {name: getattr(self, name) for name in self.model_fields_set - others}


DATA = ("train", "validation", "test")
"""Arguments of `tune` and `Confirm` that are under `data` in a configuration."""

_KEYS: Mapping[str, Sequence[str]] = {
    "": tuple(RunConfig.model_fields),
    "<data>": DATA,
    "<objective>": tuple(Goal.model_fields),
    **{f"<{name}>": fields_of(kind) for name, kind in CLASSES.items()},
}
"""The keys of a configuration, and those of its mappings by the tag of their form."""

_ALSO = {"<objective>": "a mapping of `name` and `direction`", "<data>": "a mapping with `train`"}


def _hint(keys: Keys, value: object) -> str:
    """Says what a key is that is missing, or where one belongs that is given one level too high."""
    if keys == ("data",):
        return "It names the function that makes the data, such as `data: my_data:load`."
    groups = [name for name in CLASSES if keys[0] in _KEYS[f"<{name}>"]]
    deeper = len(keys) == 1 and groups and keys[0] not in (*_KEYS[""], *DATA)
    return f"Did you mean `{groups[0]}.{keys[0]}`?" if deeper else ""


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
    lines: Mapping[Keys, int]
    options: frozenset[str] = field(default=frozenset())

    def where(self, *keys: str | int) -> str:
        """Names the file and the line of a key.

        Example:
            >>> file.where("data", "train")
            'search.yaml, line 3'
        """
        line = line_of(self.lines, keys)
        return f"{self.path}, line {line}" if line else str(self.path)

    def explained(self, error: RecdropError) -> str:
        """Puts the place in front of an error of `tune` about one of its arguments."""
        if not isinstance(error, InvalidArgumentError) or not error.argument:
            return str(error)
        text = str(error)
        if error.argument == "objective" and error.fix:
            name = error.received.strip("'")
            write = f"Write `objective: {{name: {name}, direction: min}}`, or max."
            text = text.replace(error.fix, write)
        keys = self._keys_of(error.argument)
        if keys is None or keys[0] in self.options:
            return text
        value = self._value(keys)
        # Code of the user's may have an argument of the same name.
        if isinstance(value, int | float) and error.received != shown(value):
            return text
        return f"{self.where(*keys)}: {text}"

    def _keys_of(self, argument: str) -> Keys | None:
        """Finds the key that gives an argument its value; `None` where none does."""
        groups = ["data"] if argument in DATA else []
        groups += [name for name in CLASSES if argument in _KEYS[f"<{name}>"]]
        places: list[Keys] = [(argument,), *((group, argument) for group in groups)]
        places += [("data",)] if argument in DATA else []
        return next((keys for keys in places if keys in self.lines), None)

    def _value(self, keys: Keys) -> Any:
        found: Any = self.config
        for key in keys:
            found = getattr(found, str(key), None)
        return found

    def space(self) -> SearchSpace:
        """Reads the search space: a preset, a file relative to this one, or what is written here.

        Raises:
            click.ClickException: There is no such space, or something is wrong with it.
        """
        given = "quick" if self.config.space is None else self.config.space
        try:
            if isinstance(given, dict):
                return SearchSpace.read(given, lambda keys: self.where("space", *keys))
            if given.endswith((".yaml", ".yml")):
                # What a tilde stands for is found, or not, where the file is opened.
                at_home = given.startswith("~")
                return SearchSpace.load(given if at_home else self.path.parent / given)
            return SearchSpace.load(given)
        except SearchSpaceError as error:
            raise click.ClickException(self.explained(error)) from None


def read_config(path: Path, options: Mapping[str, Any]) -> ConfigFile:
    """Reads a configuration.

    Args:
        path: The YAML file.
        options: What the command line says instead.

    Raises:
        click.ClickException: It cannot be read, or something is wrong with it; every problem has a line.
    """
    try:
        raw, lines = read_yaml(path)
    except RecdropError as error:
        raise click.ClickException(str(error)) from None
    if not isinstance(raw, dict):
        raise click.ClickException(
            f"{path} holds no configuration: expected a mapping, such as `data: my_data:load`."
        )
    changed = {**raw, **options}
    if "workers" in options and isinstance(raw.get("workers"), dict):
        changed["workers"] = {**raw["workers"], "number": options["workers"]}
    try:
        config = RunConfig.model_validate(changed)
    except ValidationError as error:
        said = in_words(error, str(path), lines, _KEYS, also=_ALSO, hint=_hint)
        raise click.ClickException(said) from None
    except RecdropError as error:
        raise click.ClickException(str(error)) from None
    return ConfigFile(path, config, lines, frozenset(options))
