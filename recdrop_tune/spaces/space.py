"""`SearchSpace`: a checked mapping of what to search, and its Keras Tuner hyperparameters."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema

from recdrop_tune.catalog import DECAYS, LOCKED_SITES, OPTIONS, SITES
from recdrop_tune.documents import Keys as KeyPath
from recdrop_tune.documents import explain, read_yaml
from recdrop_tune.errors import RecdropError, SearchSpaceError, invalid_argument, suggestion
from recdrop_tune.hyperparameters import Hyperparameter, count
from recdrop_tune.spaces.keys import Keys
from recdrop_tune.spaces.sampling import (
    DropoutSample,
    RowRecorder,
    Sample,
    dropping,
    plain_names,
    register,
    sample_dropout,
    sample_locked,
    sample_under,
)
from recdrop_tune.spaces.values import Range, as_written

_OF_MODEL = {"cell": "lstm", "units": 64, "layers": 1, "bidirectional": False}
_OF_TRAINING = {"learning_rate": 1e-3, "global_clipnorm": None}
"""The values of keys that a space leaves out."""

_OF_DROPOUT = ("wrapper", "placement", "rate", "schedule", *OPTIONS, *DECAYS)
"""The keys about one layer."""


class _Schema(GenerateJsonSchema):
    """Leaves default values and titles out of a JSON schema, which no editor needs."""

    def default_schema(self, schema: Any) -> dict[str, Any]:
        """Describes a value without its default."""
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Returns False: the key is title enough."""
        return False


class SearchSpace(Keys):
    """What to search: for each key a fixed value, a choice, or a range.

    A bare value is fixed, a list is a choice, a mapping `{min, max, step, log}` is a range that includes
    both ends. A key that is left out has a constant value; only for `wrapper`, `placement` and `rate` the
    defaults are searched. Under the wrapper `"none"` nothing drops.
    `SearchSpace.json_schema()` describes each key.

    Raises:
        SearchSpaceError: Something is wrong; the message has a line for each problem.

    Example:
        >>> space = SearchSpace(wrapper=["none", "recurrent"], placement="recurrent", rate=[0.1, 0.3])
        >>> space.grid_size()
        3
    """

    def __init__(self, **keys: Any) -> None:
        self._read(keys)

    def _read(self, raw: Any, where: Callable[[KeyPath], str] = lambda keys: "") -> None:
        try:
            self.__pydantic_validator__.validate_python(raw, self_instance=self)
        except ValidationError as error:
            raise SearchSpaceError(str(explain(error, raw, _names(), where))) from None

    @classmethod
    def read(
        cls, raw: Mapping[Any, Any], where: Callable[[KeyPath], str] = lambda keys: ""
    ) -> Self:
        """Makes a search space from a mapping in a document; `where` returns the place of a key in it."""
        space = cls.__new__(cls)
        space._read(dict(raw), where)
        return space

    @classmethod
    def load(cls, source: object) -> Self:
        """Reads a search space.

        Args:
            source: A `SearchSpace` (returned as it is), a mapping, the name of a preset
                (`SearchSpace.presets()`), or the path of a YAML file: a string that ends in `.yaml`
                or `.yml`, or an `os.PathLike`.

        Raises:
            SearchSpaceError: There is no such file or preset, or something in it is wrong. The message
                has a line for each problem: file and line, key, what is allowed and what was received.

        Example:
            >>> SearchSpace.load({"wrapper": "recurrent", "rate": 0.3}).rate
            0.3
        """
        if isinstance(source, cls):
            return source
        if isinstance(source, Mapping):
            return cls.read(source)
        is_file = isinstance(source, str) and source.endswith((".yaml", ".yml"))
        if is_file or isinstance(source, os.PathLike):
            return cls.read(*_read_file(source))
        if isinstance(source, str) and source in cls.presets():
            return _preset(cls, source)  # type: ignore[no-any-return]
        expected = f"a dict, the path of a YAML file, or a preset: {', '.join(cls.presets())}"
        fix = suggestion(source, cls.presets())
        error = invalid_argument("space", expected=expected, received=source, fix=fix)
        raise _space_error(str(error))

    @staticmethod
    def presets() -> tuple[str, ...]:
        """Returns the names of the presets that come with the package."""
        return tuple(sorted(path.stem for path in preset_folder().glob("*.yaml")))

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Returns the JSON schema (draft 7) of a search space, for editors and other tools.

        It checks every key and every single value. How keys fit together (`min` below `max`, a
        placement that the wrapper has) is checked only by `load`.
        """
        schema = cls.model_json_schema(schema_generator=_Schema)
        about = {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "Search space of recdrop-tune",
            "description": "A bare value is fixed, a list is a choice, a mapping is a range.",
        }
        return {**schema, **about}

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data in the form users write; `load` turns it into an equal space."""
        return {name: as_written(value) for name, value in self if value is not None}

    def to_yaml(self) -> str:
        """Returns the space as YAML text, in the form users write."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None)

    def sample(self, hp: Any, name: str | None = None, embedding: bool = False) -> Sample:
        """Registers the whole space on `hp` and returns the values active now.

        Args:
            hp: `keras_tuner.HyperParameters`. The names are the keys of the space; if `rate` (or
                `locked_rate`) is one per site they are `rate.input`, `rate.recurrent`,
                `rate.output`. If some wrappers are offered other placements than others, each
                such group has its own `placement`, such as `placement.time_distributed-lambda`; see
                `plain_names`.
            name: Prefixes every name with `name/`.
            embedding: Whether the model has an embedding; only then `embedding_rate` is searched.

        Returns:
            The configuration to build. `placement` and `rate` are `None` under the wrapper `"none"`;
            `rate` also if it is learned.
        """
        with nullcontext() if name is None else hp.name_scope(name):
            values = self._sample_keys(hp, _OF_MODEL)
            dropout = sample_dropout(self, hp)
            wrappers = dropping(self)
            values["locked_rate"] = sample_locked(hp, self.locked_rate, wrappers)
            if embedding:
                values["embedding_rate"] = sample_under(
                    hp, wrappers, "embedding_rate", self.embedding_rate
                )
            values |= self._sample_keys(hp, _OF_TRAINING)
        return Sample(**vars(dropout), **values)

    def sample_dropout(self, hp: Any, name: str | None = None, cell: str = "lstm") -> DropoutSample:
        """Registers only what one layer needs: wrapper, placement, rate, options and decays.

        Args:
            hp: `keras_tuner.HyperParameters`.
            name: Prefixes every name with `name/`.
            cell: The cell of the layer, `"lstm"` or `"gru"`; options and wrappers that it lacks are left out.
        """
        with nullcontext() if name is None else hp.name_scope(name):
            return sample_dropout(self, hp, cell)

    def of_dropout(self) -> SearchSpace:
        """Returns the part of the space about the dropout of one layer, which `sample_dropout` uses."""
        values = {name: value for name, value in self.to_dict().items() if name in _OF_DROPOUT}
        return type(self).load(values)

    def grid_size(self) -> int | None:
        """Returns the number of configurations, or `None` if a range is a continuum."""
        number = count(self._rows())
        return None if math.isinf(number) else int(number)

    def searched(self) -> list[str]:
        """Returns the hyperparameters with more than one value, as tables name them."""
        searched = (row.name for row in self._rows() if not row.is_fixed)
        return list(plain_names(dict.fromkeys(searched)))

    def _rows(self) -> list[Hyperparameter]:
        recorder = RowRecorder()
        self.sample(recorder, embedding=True)
        return recorder.rows

    def _sample_keys(self, hp: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """Registers the keys that the space names, and returns the values of all."""
        given = {key: getattr(self, key) for key in values}
        drawn = {key: register(hp, key, value) for key, value in given.items() if value is not None}
        return {**values, **{key: value for key, value in drawn.items() if value is not None}}


def preset_folder() -> Path:
    """Returns the folder of the presets: inside an installed package, else next to it."""
    shipped = Path(str(resources.files("recdrop_tune") / "search_spaces"))
    # An editable install maps only the package folder; the presets stay at the top of the repository.
    return shipped if shipped.is_dir() else Path(__file__).parents[2] / "search_spaces"


def _space_error(message: str) -> SearchSpaceError:
    """Makes an error about the argument `space` itself, not about a key in it."""
    error = SearchSpaceError(message)
    error.argument = "space"
    return error


def _read_file(path: Any) -> tuple[Mapping[Any, Any], Callable[[KeyPath], str]]:
    """Returns the mapping in a file, and a function that names the place of a key."""
    try:
        data, lines = read_yaml(path)
    except RecdropError as error:
        raise _space_error(str(error)) from error
    if not isinstance(data, Mapping):
        example = "Expected a mapping, such as `wrapper: [none, recurrent]`."
        raise _space_error(f"{path} is not a search space. {example}")

    def where(keys: KeyPath) -> str:
        while keys and keys not in lines:
            keys = keys[:-1]
        return f"{path}, line {lines[keys]}" if keys else str(path)

    return data, where


@cache
def _preset(kind: type[Any], name: str) -> Any:
    """Reads a preset once: build functions load it for every model."""
    return kind.read(*_read_file(preset_folder() / f"{name}.yaml"))


def _names() -> dict[KeyPath, tuple[str, ...]]:
    """Returns the names of keys, by the keys that lead there."""
    keys, bounds = tuple(Keys.model_fields), tuple(Range.model_fields)
    names: dict[KeyPath, tuple[str, ...]] = {(): keys} | {(key,): bounds for key in keys}
    for key, sites in (("rate", SITES), ("locked_rate", LOCKED_SITES)):
        names[key,] = (*bounds, *sites)
        names |= {(key, site): bounds for site in sites}
    return names
