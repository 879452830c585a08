"""`SearchSpace`: a checked mapping of what to search, and its Keras Tuner hyperparameters."""

from __future__ import annotations

from math import prod
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict

from recdrop_tune.catalog import TECHNIQUES
from recdrop_tune.spaces._reading import as_words, offered_placements, plain, read_fields
from recdrop_tune.spaces._report import Report
from recdrop_tune.spaces._sampling import (
    DropoutPlan,
    DropoutSample,
    Group,
    Sample,
    named,
    register,
    sample_dropout,
)
from recdrop_tune.spaces._sources import preset_names, read_source
from recdrop_tune.spaces._values import Range, Value

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
_Floats = float | tuple[float, ...] | Range


class SearchSpace(BaseModel):
    """What to search: for each field a fixed value, a choice, or a range.

    A bare value is fixed, a list is a choice, a mapping `{min, max, step, log}` is a range, both
    ends included. A field that is left out is no hyperparameter, and a constant is used; the fields
    of the dropout (`wrapper`, `placement`, `rate`) are always searched, but for `schedule`.

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
    bidirectional: bool | tuple[bool, ...] | None = None
    wrapper: _Words = tuple(TECHNIQUES)
    placement: _Words | None = None
    rate: _Floats | dict[str, _Floats] | None = None
    schedule: _Words | None = None
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

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data in the form users write; `load` turns it into an equal space."""
        return {name: plain(value) for name, value in self if value is not None}

    def to_yaml(self) -> str:
        """Returns the space as YAML text, in the form users write."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None)

    def sample(self, hp: Any, name: str | None = None) -> Sample:
        """Registers the whole space on `hp` and returns the values active now.

        Args:
            hp: `keras_tuner.HyperParameters`. The names are the keys of the space; where `rate` is
                one per site they are `rate.input`, `rate.recurrent`, `rate.output`. Where some
                wrappers are offered other placements than others, each such group has its own
                `placement`, such as `placement.time_distributed-lambda`; see `plain_names`.
            name: Where given, every name is prefixed by `name/`.

        Returns:
            The configuration to build. `placement` and `rate` are `None` where the wrapper is
            `"none"`.
        """
        with named(hp, name):
            values = {key: self._sample_field(hp, key) for key in list(_CONSTANTS)[:-1]}
            dropout = sample_dropout(self._plan(), hp)
            values["learning_rate"] = self._sample_field(hp, "learning_rate")
        return Sample(**vars(dropout), **values)

    def sample_dropout(self, hp: Any, name: str | None = None) -> DropoutSample:
        """Registers only the fields of the dropout on `hp`; otherwise as `sample`."""
        with named(hp, name):
            return sample_dropout(self._plan(), hp)

    def grid_size(self) -> int | None:
        """Returns how many configurations there are, or `None` where a range is a continuum."""
        plan = self._plan()
        fixed = [_size(getattr(self, key)) for key in _CONSTANTS if getattr(self, key) is not None]
        dropout: list[int | None] = [1] if "none" in plan.wrappers else []
        for group in plan.groups:
            sizes = [_rate_size(plan.rate, item) for item in group.placements]
            for wrapper in group.wrappers:
                dropout += sizes * (
                    len(as_words(self.schedule)) if wrapper in plan.scheduled else 1
                )
        if None in fixed or None in dropout:
            return None
        return prod(size or 1 for size in fixed) * sum(size or 0 for size in dropout)

    def _sample_field(self, hp: Any, key: str) -> Any:
        value = getattr(self, key)
        drawn = None if value is None else register(hp, key, value)
        return _CONSTANTS[key] if drawn is None else drawn

    def _plan(self) -> DropoutPlan:
        """Works out which placements are offered under which wrapper."""
        wrappers = as_words(self.wrapper)
        offers: dict[tuple[str, ...], list[str]] = {}
        for wrapper in wrappers:
            if wrapper != "none":
                offered = offered_placements(wrapper, self.placement, self.rate)
                offers.setdefault(offered, []).append(wrapper)
        groups = tuple(
            Group(tuple(ids), offered, f".{'-'.join(ids)}" if len(offers) > 1 else "")
            for offered, ids in offers.items()
        )
        rate: Any = _RATE if self.rate is None else self.rate
        scheduled = tuple(
            wrapper
            for wrapper in wrappers
            if set(as_words(self.schedule)) <= set(TECHNIQUES[wrapper].schedules)
        )
        return DropoutPlan(wrappers, groups, rate, self.schedule, scheduled)


def _size(value: Value) -> int | None:
    if isinstance(value, Range):
        return value.size
    return len(value) if isinstance(value, tuple) else 1


def _rate_size(rate: Value | dict[str, Value], placement: str) -> int | None:
    if not isinstance(rate, dict):
        return _size(rate)
    sizes = [_size(rate[site]) for site in placement.split("+")]
    return None if None in sizes else prod(size or 1 for size in sizes)
