"""Registers a search space as Keras Tuner hyperparameters and reads the values active now."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from recdrop_tune.catalog import DECAYS, LOCKED_SITES, OPTIONS, SITES, TECHNIQUES
from recdrop_tune.errors import invalid_argument
from recdrop_tune.hyperparameters import Hyperparameter
from recdrop_tune.spaces.keys import Keys
from recdrop_tune.spaces.values import Range, Scalar, Value, as_words

Rate = float | dict[str, float]


@dataclass(frozen=True)
class DropoutSample:
    """One setting of the dropout: which wrapper, where, how much.

    Attributes:
        wrapper: Id of a technique; `"none"` for no dropout.
        placement: Where it drops, such as `"input+recurrent"`; `None` for no dropout.
        rate: One rate for all sites, or one per site of `placement`; `None` for no dropout, or if the
            wrapper learns it.
        options: The wrapper's own arguments, by name.
        decays: The decays of activations that the space names, by name; without dropout too.
    """

    wrapper: str
    placement: str | None
    rate: Rate | None
    options: dict[str, Scalar] = field(default_factory=dict, kw_only=True)
    decays: dict[str, Any] = field(default_factory=dict, kw_only=True)

    def wrap_arguments(self) -> dict[str, Any]:
        """Returns the keyword arguments for `recdrop_tune.wrappers.wrap`; empty for no dropout."""
        if self.wrapper == "none":
            return {}
        rate = {} if self.rate is None else {"rate": self.rate}
        return {"placement": self.placement, **rate, **self.options}


@dataclass(frozen=True)
class Sample(DropoutSample):
    """One configuration of a search space: what a hypermodel builds.

    Attributes:
        cell: `"lstm"` or `"gru"`.
        units: Units of each recurrent layer.
        layers: Number of recurrent layers.
        bidirectional: Whether the layers read the sequence in both directions.
        learning_rate: Learning rate of the optimizer.
        locked_rate: Rates of the locked dropout, by place.
        embedding_rate: Dropout rate of word types; `None` for none.
        global_clipnorm: The largest norm of all gradients together; `None` for no clipping.
    """

    cell: str
    units: int
    layers: int
    bidirectional: bool
    learning_rate: float
    locked_rate: dict[str, float] = field(default_factory=dict, kw_only=True)
    embedding_rate: float | None = field(default=None, kw_only=True)
    global_clipnorm: float | None = field(default=None, kw_only=True)


# One hyperparameter.


def register(hp: Any, name: str, value: Value) -> Any:
    """Registers one hyperparameter and returns its value, or `None` if it is inactive."""
    if isinstance(hp, RowRecorder):
        return hp.record(name, value)
    if isinstance(value, Range):
        method = hp.Int if isinstance(value.min, int) else hp.Float
        sampling = "log" if value.log else "linear"
        drawn = method(name, value.min, _reachable_max(value), step=value.step, sampling=sampling)
        if drawn is None or value.step is None or isinstance(drawn, int):
            return drawn
        # Keras Tuner computes 0.05 + 2 * 0.05 = 0.15000000000000002, and 0.15 is meant.
        return float(f"{drawn:.12g}")
    if not isinstance(value, tuple):
        return hp.Fixed(name, value)
    if all(isinstance(item, bool) for item in value):
        # `Choice` would turn them into 0 and 1.
        return hp.Boolean(name, default=value[0])
    return hp.Choice(name, list(value))


def _reachable_max(value: Range) -> float:
    """Returns the last value of a stepped range, such that Keras Tuner includes it."""
    # It counts `(max - min) // step + 1` values. Floating point makes that one too few for ranges such as
    # 0.05 to 0.6 by 0.05. There the end is moved by the one or two units in the last place that correct it.
    if value.step is None or isinstance(value.min, int):
        return value.max
    steps = Hyperparameter("range", low=value.min, high=value.max, step=value.step).count - 1
    last = float(f"{value.min + steps * value.step:.12g}")
    while (last - value.min) // value.step < steps:
        last = math.nextafter(last, math.inf)
    return last


def sample_under(hp: Any, wrappers: Sequence[str], name: str, value: Value | None) -> Any:
    """Registers a hyperparameter under wrappers; returns its value, or `None` if it is inactive."""
    if value is None or not wrappers:
        return None
    with hp.conditional_scope("wrapper", list(wrappers)):
        return register(hp, name, value)


# The dropout.

_DEFAULT_RATE = Range(min=0.05, max=0.6, step=0.05)


@dataclass(frozen=True)
class _Group:
    """Wrappers that are offered the same placements.

    `suffix` ends the names of the group's own hyperparameters; it is empty for the only group. Keras Tuner
    allows one name under several conditions, but then loses its value: `ensure_active_values` deletes what an
    active hyperparameter holds when it meets an inactive one of the same name.
    """

    wrappers: tuple[str, ...]
    placements: tuple[str, ...]
    suffix: str

    @property
    def learns_rate(self) -> bool:
        return TECHNIQUES[self.wrappers[0]].learns_rate

    def with_site(self, site: str | None) -> list[str]:
        """Returns the placements that have a site; all of them for `None`."""
        return [each for each in self.placements if site is None or site in each.split("+")]


def dropping(keys: Keys) -> list[str]:
    """Returns the wrappers of a space that drop, group by group: searches are resumed in this order."""
    return [wrapper for group in _groups(keys, keys.options()) for wrapper in group.wrappers]


def _groups(keys: Keys, options: Mapping[str, Value]) -> list[_Group]:
    members: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for wrapper in as_words(keys.wrapper):
        if wrapper != "none":
            # In Keras Tuner, a condition on a placement works only inside the condition that the placement
            # was registered under. So a wrapper with an option for one site is its own group.
            known = [OPTIONS[name] for name in options]
            sited = any(wrapper in option.techniques and option.site for option in known)
            alone = wrapper if sited or TECHNIQUES[wrapper].learns_rate else ""
            members.setdefault((keys.placements_of(wrapper), alone), []).append(wrapper)
    return [
        _Group(tuple(ids), placements, f".{'-'.join(ids)}" if len(members) > 1 else "")
        for (placements, _), ids in members.items()
    ]


def sample_dropout(keys: Keys, hp: Any, cell: str = "lstm") -> DropoutSample:
    """Registers wrapper, placement, rate, options and decays; returns the values active now."""
    keys = keys.of_cell(cell)
    wrappers, options = as_words(keys.wrapper), keys.options(cell)
    groups = _groups(keys, options)
    rate: Any = _DEFAULT_RATE if keys.rate is None else keys.rate
    wrapper = register(hp, "wrapper", keys.wrapper)
    # `none` is always accepted: the twin of a configuration is built in spaces without it too.
    if wrapper not in (None, "none", *wrappers):
        expected = f"a wrapper of the space: {', '.join(wrappers)}"
        raise invalid_argument("wrapper", expected=expected, received=wrapper)
    placement: str | None = None
    rates: dict[str, float] = {}
    drawn: dict[str, Scalar] = {}
    for group in groups:
        with hp.conditional_scope("wrapper", list(group.wrappers)):
            at = f"placement{group.suffix}"
            offered = group.placements if len(group.placements) > 1 else group.placements[0]
            placement = register(hp, at, offered) or placement
            for site in SITES if isinstance(rate, dict) and not group.learns_rate else ():
                if site in rate and (having := group.with_site(site)):
                    with hp.conditional_scope(at, having):
                        value = register(hp, f"rate.{site}{group.suffix}", rate[site])
                    rates |= {} if value is None else {site: value}
        drawn |= _sample_options(hp, options, group, groups)
    if isinstance(rate, dict):
        one_rate: Any = rates or None
    else:
        rated = [wrapper for group in groups if not group.learns_rate for wrapper in group.wrappers]
        one_rate = sample_under(hp, rated, "rate", rate)
    # Decays have no condition: they are not dropout, and the twin has them too.
    values = {name: getattr(keys, name) for name in DECAYS if getattr(keys, name) is not None}
    decays = {name: register(hp, name, value) for name, value in values.items()}
    # Inside a user's conditional scope that is inactive, every value is None: no dropout.
    return DropoutSample(
        wrapper or "none",
        placement,
        one_rate if placement else None,
        options=drawn,
        decays={name: value for name, value in decays.items() if value is not None},
    )


def _sample_options(
    hp: Any, options: Mapping[str, Value], group: _Group, groups: Sequence[_Group]
) -> dict[str, Scalar]:
    """Registers the options of a group's wrappers, under the placements that they are about."""
    drawn: dict[str, Scalar] = {}
    for name, value in options.items():
        option = OPTIONS[name]
        offering = [
            group
            for group in groups
            if set(group.wrappers) & set(option.techniques) and group.with_site(option.site)
        ]
        if group not in offering:
            continue
        having = group.with_site(option.site)
        own = name + group.suffix * (len(offering) > 1)
        owners = [wrapper for wrapper in group.wrappers if wrapper in option.techniques]
        at: Any = nullcontext()
        if len(having) < len(group.placements):
            at = hp.conditional_scope(f"placement{group.suffix}", having)
        with hp.conditional_scope("wrapper", owners), at:
            active = register(hp, own, value)
        if active is not None:
            drawn[name] = active
    return drawn


def sample_locked(hp: Any, value: Any, wrappers: Sequence[str]) -> dict[str, float]:
    """Registers `locked_rate`, or one for each place, under the wrappers that drop."""
    if isinstance(value, Mapping):
        places = [place for place in LOCKED_SITES if place in value]
        rates = {p: sample_under(hp, wrappers, f"locked_rate.{p}", value[p]) for p in places}
    else:
        rates = dict.fromkeys(LOCKED_SITES, sample_under(hp, wrappers, "locked_rate", value))
    return {place: rate for place, rate in rates.items() if rate is not None}


_SHARED = "|".join(name for name, option in OPTIONS.items() if len(option.techniques) > 1)
_GROUP = rf"(?:{'|'.join(TECHNIQUES)})"
_SUFFIX = re.compile(
    rf"((?:^|/)(?:placement|rate\.(?:{'|'.join(SITES)})|{_SHARED}))\.{_GROUP}(?:-{_GROUP})*$"
)


def plain_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Removes the group suffixes from the names of active hyperparameters; `name/` prefixes stay.

    Wrappers with different placements have one `placement` per group, and only one of them is active. In a
    table, all belong in one column. The same holds for an option that several groups have.

    Example:
        >>> plain_names({"wrapper": "lambda", "placement.time_distributed-lambda": "input"})
        {'wrapper': 'lambda', 'placement': 'input'}
    """
    return {_plain_name(name): value for name, value in values.items()}


@cache
def _plain_name(name: str) -> str:
    return _SUFFIX.sub(r"\1", name)


# Rows, without Keras Tuner, which takes seconds to import.


class RowRecorder:
    """Stands in for `keras_tuner.HyperParameters`: records what is registered, under every condition."""

    def __init__(self) -> None:
        self.rows: list[Hyperparameter] = []
        self._when: dict[str, Sequence[Any]] = {}

    @contextmanager
    def conditional_scope(self, parent: str, values: Sequence[Any]) -> Iterator[None]:
        """Makes what is registered within active only if `parent` has one of the values."""
        outer = self._when
        self._when = {**outer, parent: [v for v in values if v in outer.get(parent, values)]}
        yield
        self._when = outer

    def record(self, name: str, value: Value) -> Any:
        """Records a hyperparameter, and returns its first value."""
        if isinstance(value, Range):
            high = _reachable_max(value)
            row = Hyperparameter(name, low=value.min, high=high, step=value.step, when=self._when)
        else:
            row = Hyperparameter(name, choices=list(as_words(value)), when=self._when)
        self.rows.append(row)
        return row.low if row.choices is None else row.choices[0]
