"""`SearchSpace`: a checked mapping of what to search, and its Keras Tuner hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict

from recdrop_tune.catalog import OPTIONS, TECHNIQUES
from recdrop_tune.spaces.fields import Report
from recdrop_tune.spaces.reading import (
    as_words,
    offered_placements,
    plain,
    read_fields,
    space_schema,
)
from recdrop_tune.spaces.sampling import (
    DropoutPlan,
    DropoutSample,
    Group,
    Sample,
    has_sites,
    plain_names,
    sample_dropout,
    sample_embedding_rate,
    sample_locked,
)
from recdrop_tune.spaces.sources import preset_names, read_source
from recdrop_tune.spaces.values import Range, named, register

# Counts the configurations of a search space, by registering it on hyperparameters that only count.

Conditions = tuple[tuple[str, tuple[Any, ...]], ...]
"""Names of hyperparameters, and for each the values one of which it must have."""


@dataclass(frozen=True)
class _Counted:
    """One hyperparameter: its values, or only how many; `size` is `None` for a continuum."""

    name: str
    size: int | None
    values: Sequence[Any]
    conditions: Conditions

    def is_active(self, values: dict[str, Any]) -> bool:
        return all(values.get(name) in having for name, having in self.conditions)


class Counter:
    """Stands in for `keras_tuner.HyperParameters` and notes what is registered on it."""

    def __init__(self) -> None:
        self._noted: list[_Counted] = []
        self._scopes: Conditions = ()

    def count(self) -> int | None:
        """Returns how many configurations were registered, `None` where there is a continuum."""
        return self._count(0, {})

    def searched(self) -> list[str]:
        """Lists the names of what was registered with more than one value, in order, each once."""
        return list(dict.fromkeys(noted.name for noted in self._noted if noted.size != 1))

    def _count(self, start: int, values: dict[str, Any]) -> int | None:
        """Counts what the hyperparameters from `start` on can be, given the values of the others."""
        parents = {name for noted in self._noted for name, _ in noted.conditions}
        total = 1
        for position, noted in enumerate(self._noted[start:], start):
            if not noted.is_active(values):
                continue
            if noted.name in parents:
                rest = [
                    self._count(position + 1, {**values, noted.name: value})
                    for value in noted.values
                ]
                return None if None in rest else total * sum(part or 0 for part in rest)
            if noted.size is None:
                return None
            total *= noted.size
        return total

    @contextmanager
    def conditional_scope(self, parent: str, values: Sequence[Any]) -> Iterator[None]:
        """What is registered within is active where `parent` has one of the values."""
        before = self._scopes
        self._scopes = (*before, (parent, tuple(values)))
        yield
        self._scopes = before

    def Fixed(self, name: str, value: Any) -> Any:
        """Notes a fixed value."""
        return self._note(name, 1, [value])

    def Boolean(self, name: str, default: bool) -> Any:
        """Notes a choice of true and false."""
        return self._note(name, 2, [default, not default])

    def Choice(self, name: str, values: Sequence[Any]) -> Any:
        """Notes a choice."""
        return self._note(name, len(values), values)

    def Int(self, name: str, low: int, high: int, step: int | None, sampling: str) -> Any:
        """Notes a range of integers."""
        values = range(low, high + 1, step or 1)
        return self._note(name, len(values), values)

    def Float(self, name: str, low: float, high: float, step: float | None, sampling: str) -> Any:
        """Notes a range of numbers."""
        # 1e-9: 0.55 / 0.05 is 10.999999999999998 in floating point, and the upper end is meant.
        size = math.floor((high - low) / step + 1e-9) + 1 if step else None
        return self._note(name, size, [low])

    def _note(self, name: str, size: int | None, values: Sequence[Any]) -> Any:
        self._noted.append(_Counted(name, size, values, self._scopes))
        return values[0]


_CONSTANTS: dict[str, Any] = {
    "cell": "lstm",
    "units": 64,
    "layers": 1,
    "bidirectional": False,
    "learning_rate": 1e-3,
}
"""What is built where the space does not name the field."""

_RATE = Range(min=0.05, max=0.6, step=0.05)

_Words = str | tuple[str, ...]
_Ints = int | tuple[int, ...] | Range
_Flags = bool | tuple[bool, ...]
_Floats = float | tuple[float, ...] | Range


class SearchSpace(BaseModel):
    """What to search: for each field a fixed value, a choice, or a range.

    A bare value is fixed, a list is a choice, a mapping `{min, max, step, log}` is a range, both
    ends included. A field that is left out is no hyperparameter, and a constant is used; only
    `wrapper`, `placement` and `rate` are always searched. Under the wrapper `"none"` nothing drops.

    Args:
        cell: `"lstm"` or `"gru"`. Left out: `"lstm"`.
        units: Units of each recurrent layer. Left out: 64.
        layers: Number of recurrent layers. Left out: 1.
        bidirectional: Whether the layers read the sequence both ways. Left out: no.
        wrapper: Ids of the techniques in `recdrop_tune.catalog`. Left out: all of them.
        placement: Sites joined by `+`, such as `"input+recurrent"`; each is offered only under the
            wrappers that have it. Left out: every placement each wrapper has (where `rate` is one
            per site: those among the sites which have a rate).
        rate: Dropout rate, 0 <= rate < 1; or one per site: `{"input": ..., "recurrent": ...}`.
            Left out: 0.05 to 0.6 in steps of 0.05.
        schedule: How the rate moves while a model trains: names of `recdrop_tune.models.SCHEDULES`.
            Offered under the wrappers whose inference is the plain layer: not under `"none"`, nor
            under `"zoneout"`, whose rate stays. Left out: `"constant"`.
        per_step: Of the wrapper `recurrent`: whether each step has a mask of its own. Left out: yes.
        tied_gates: Of the wrapper `variational` at the recurrent site: whether all gates share a
            mask. Left out: yes.
        mask_groups: Of the wrapper `variational` at the recurrent site: into how many groups with
            masks of their own the batch is split. Left out: 1.
        hidden_rate: Of the wrapper `zoneout`, with the cell `"lstm"` alone: the rate for h, where
            `rate` is that of the cell. Above 0 it leaves cuDNN. Left out: 0.
        function: Of the wrapper `lambda`: `"bernoulli"` or `"gaussian"` noise. Left out: Bernoulli.
        locked_rate: Rate of locked dropout beside the wrapper: one mask for all steps of a sequence,
            on what goes into the recurrent layers, between them and out of them. Or one per site:
            `{"input": ..., "between": ..., "output": ...}`, `between` with 2 or more layers only.
            Left out: none.
        embedding_rate: Rate of dropout of word types, where the model has an embedding
            (`LanguageModel`). Left out: none.
        learning_rate: Learning rate of the optimizer. Left out: 1e-3.

    Raises:
        SearchSpaceError: Something is wrong; the message has a line for each problem.

    Example:
        >>> space = SearchSpace(wrapper=["none", "recurrent"], placement="recurrent", rate=[0.1, 0.3])
        >>> space.grid_size()
        3
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    cell: _Words | None = None
    units: _Ints | None = None
    layers: _Ints | None = None
    bidirectional: _Flags | None = None
    wrapper: _Words = tuple(TECHNIQUES)
    placement: _Words | None = None
    rate: _Floats | dict[str, _Floats] | None = None
    schedule: _Words | None = None
    per_step: _Flags | None = None
    tied_gates: _Flags | None = None
    mask_groups: _Ints | None = None
    hidden_rate: _Floats | None = None
    function: _Words | None = None
    locked_rate: _Floats | dict[str, _Floats] | None = None
    embedding_rate: _Floats | None = None
    learning_rate: _Floats | None = None

    def __init__(self, **fields: Any) -> None:
        super().__init__(**read_fields(fields, Report("the arguments")))

    @classmethod
    def load(cls, source: object) -> Self:
        """Reads a search space from whatever names one.

        Args:
            source: A `SearchSpace` (returned as it is), a mapping, the name of a preset
                (`SearchSpace.presets()`), or the path of a YAML file: a string that ends in `.yaml`
                or `.yml`, or an `os.PathLike`.

        Raises:
            SearchSpaceError: There is no such file or preset, or it describes no valid space. The
                message names the file, the key, what is allowed and what came, for every problem.

        Example:
            >>> SearchSpace.load({"wrapper": "recurrent", "rate": 0.3}).rate
            0.3
        """
        if isinstance(source, cls):
            return source
        where, raw = read_source(source)
        return cls(**read_fields(raw, Report(where)))

    @staticmethod
    def presets() -> tuple[str, ...]:
        """Lists the names of the presets that come with the package."""
        return preset_names()

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Returns the JSON schema (draft 7) of a search space, for editors and other tools.

        It knows every key and every single value. What keys say together (`min` below `max`, a
        placement which the wrapper has) only `load` checks.
        """
        return space_schema(cls.__doc__ or "")

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data in the form users write; `load` turns it into an equal space."""
        return {name: plain(value) for name, value in self if value is not None}

    def to_yaml(self) -> str:
        """Returns the space as YAML text, in the form users write."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None)

    def sample(self, hp: Any, name: str | None = None, embedding: bool = False) -> Sample:
        """Registers the whole space on `hp` and returns the values active now.

        Args:
            hp: `keras_tuner.HyperParameters`. The names are the keys of the space; where `rate` (or
                `locked_rate`) is one per site they are `rate.input`, `rate.recurrent`,
                `rate.output`. Where some wrappers are offered other placements than others, each
                such group has its own `placement`, such as `placement.time_distributed-lambda`; see
                `plain_names`.
            name: Where given, every name is prefixed by `name/`.
            embedding: Whether the model has an embedding; only then `embedding_rate` is searched.

        Returns:
            The configuration to build. `placement` and `rate` are `None` where the wrapper is
            `"none"`.
        """
        with named(hp, name):
            values = {key: self._sample_field(hp, key) for key in list(_CONSTANTS)[:-1]}
            plan = self._plan()
            dropout = sample_dropout(plan, hp)
            values["locked_rate"] = sample_locked(hp, self.locked_rate, plan.dropping)
            if embedding:
                values["embedding_rate"] = sample_embedding_rate(
                    hp, self.embedding_rate, plan.dropping
                )
            values["learning_rate"] = self._sample_field(hp, "learning_rate")
        return Sample(**vars(dropout), **values)

    def sample_dropout(self, hp: Any, name: str | None = None, cell: str = "lstm") -> DropoutSample:
        """Registers only the wrapper, its placement, rate and options on `hp`; else as `sample`.

        Args:
            hp: `keras_tuner.HyperParameters`.
            name: Where given, every name is prefixed by `name/`.
            cell: The cell of the layer, `"lstm"` or `"gru"`; what it does not have is not asked.
        """
        with named(hp, name):
            return sample_dropout(self._plan(cell), hp)

    def grid_size(self) -> int | None:
        """Returns how many configurations there are, or `None` where a range is a continuum."""
        counter = Counter()
        self.sample(counter, embedding=True)
        return counter.count()

    def searched(self) -> list[str]:
        """Lists the hyperparameters that have more than one value, as tables name them.

        Example:
            >>> SearchSpace(wrapper=["none", "recurrent"], placement="recurrent", rate=0.3).searched()
            ['wrapper']
        """
        counter = Counter()
        self.sample(counter, embedding=True)
        return list(plain_names(dict.fromkeys(counter.searched())))

    def _sample_field(self, hp: Any, key: str) -> Any:
        value = getattr(self, key)
        drawn = None if value is None else register(hp, key, value)
        return _CONSTANTS[key] if drawn is None else drawn

    def _plan(self, cell: str = "lstm") -> DropoutPlan:
        """Works out what is offered under which wrapper, around a layer with the cell."""
        wrappers, options = as_words(self.wrapper), self._options(cell)
        offers: dict[tuple[tuple[str, ...], str], list[str]] = {}
        for wrapper in wrappers:
            if wrapper != "none":
                offered = offered_placements(wrapper, self.placement, self.rate)
                alone = wrapper if has_sites(wrapper, options) else ""
                offers.setdefault((offered, alone), []).append(wrapper)
        groups = tuple(
            Group(tuple(ids), offered, f".{'-'.join(ids)}" if len(offers) > 1 else "")
            for (offered, _), ids in offers.items()
        )
        rate: Any = _RATE if self.rate is None else self.rate
        return DropoutPlan(wrappers, groups, rate, options, self.schedule, self._scheduled())

    def _scheduled(self) -> tuple[str, ...]:
        """The wrappers that have all the schedules of the space."""
        asked = set(as_words(self.schedule))
        return tuple(w for w in as_words(self.wrapper) if asked <= set(TECHNIQUES[w].schedules))

    def _options(self, cell: str) -> dict[str, Any]:
        """The options of wrappers that the space names and a cell has."""
        return {
            name: getattr(self, name)
            for name, option in OPTIONS.items()
            if getattr(self, name) is not None and option.cell in (None, cell)
        }
