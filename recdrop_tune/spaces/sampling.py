"""Registers a search space as Keras Tuner hyperparameters and reads the values active now."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from recdrop_tune.catalog import LOCKED_SITES, OPTIONS, SITES, Option
from recdrop_tune.errors import invalid_argument
from recdrop_tune.spaces.values import Range, Scalar, Value

# One hyperparameter.


@contextmanager
def named(hp: Any, name: str | None) -> Iterator[None]:
    """Prefixes hyperparameter names by `name/` where there is a name."""
    if name is None:
        yield
        return
    with hp.name_scope(name):
        yield


def register(hp: Any, name: str, value: Value) -> Any:
    """Registers one hyperparameter and returns its value, `None` where it is inactive."""
    if isinstance(value, Range):
        return _register_range(hp, name, value)
    if not isinstance(value, tuple):
        return hp.Fixed(name, value)
    if all(isinstance(item, bool) for item in value):
        # `Choice` would make 0 and 1 of them.
        return hp.Boolean(name, default=value[0])
    return hp.Choice(name, list(value))


def _register_range(hp: Any, name: str, value: Range) -> Any:
    method = hp.Int if isinstance(value.min, int) else hp.Float
    sampling = "log" if value.log else "linear"
    drawn = method(name, value.min, _reachable_max(value), step=value.step, sampling=sampling)
    if drawn is None or value.step is None:
        return drawn
    # Keras Tuner multiplies steps out: 0.05 + 2 * 0.05 is 0.15000000000000002, and 0.15 is meant.
    return drawn if isinstance(drawn, int) else float(f"{drawn:.12g}")


def _reachable_max(value: Range) -> float:
    """Returns the last value of a stepped range, so that Keras Tuner counts it in.

    Keras Tuner takes `(max - min) // step + 1` values, which floating point cuts by one for ranges
    such as 0.05 to 0.6 by 0.05: the upper end would never be tried. Where that is so, the upper end
    is moved by the one or two units in the last place that mend the count.
    """
    if value.step is None or value.size is None or isinstance(value.min, int):
        return value.max
    steps = value.size - 1
    last = float(f"{value.min + steps * value.step:.12g}")
    while (last - value.min) // value.step < steps:
        last = math.nextafter(last, math.inf)
    return last


# What is sampled.

Rate = float | dict[str, float]

_GROUPED = "|".join(name for name, option in OPTIONS.items() if len(option.techniques) > 1)
_SUFFIX = re.compile(rf"((?:^|/)(?:placement|rate\.(?:{'|'.join(SITES)})|{_GROUPED}))\.[\w-]+$")


@dataclass(frozen=True)
class DropoutSample:
    """One setting of the dropout: which wrapper, where, how much.

    Attributes:
        wrapper: Id of a technique; `"none"` for no dropout.
        placement: Where it drops, such as `"input+recurrent"`; `None` for no dropout.
        rate: One rate for all sites, or one per site of `placement`; `None` for no dropout, and where the
            wrapper learns it.
        options: Arguments of the wrapper's own, by name.
        schedule: How the rate moves while the model trains; `"constant"` where it stays.
        decays: The decays of activations that the space names, by name; without dropout too.
    """

    wrapper: str
    placement: str | None
    rate: Rate | None
    options: dict[str, Scalar] = field(default_factory=dict, kw_only=True)
    schedule: str = field(default="constant", kw_only=True)
    decays: dict[str, Any] = field(default_factory=dict, kw_only=True)

    def wrap_arguments(self) -> dict[str, Any]:
        """Returns the dropout as keyword arguments for `recdrop_tune.wrappers.wrap`; none for no dropout."""
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
        bidirectional: Whether the layers read the sequence both ways.
        learning_rate: Learning rate of the optimizer.
        locked_rate: The rates of the locked dropout beside the wrapper, by where it stands.
        embedding_rate: Rate of the dropout of word types; `None` for none.
        global_clipnorm: The norm that all gradients together are scaled down to; `None` for no clipping.
    """

    cell: str
    units: int
    layers: int
    bidirectional: bool
    learning_rate: float
    locked_rate: dict[str, float] = field(default_factory=dict, kw_only=True)
    embedding_rate: float | None = field(default=None, kw_only=True)
    global_clipnorm: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Group:
    """Wrappers of a space that are offered the same placements.

    Attributes:
        wrappers: Their ids.
        placements: What they are offered.
        suffix: Ends the names of the group's own hyperparameters; empty where it is the only group.
            Keras Tuner allows one name under several conditions, but then loses its value:
            `HyperParameters.ensure_active_values` deletes what an active hyperparameter holds when
            it meets an inactive one of that name.
        rated: Whether they have a rate to search.
    """

    wrappers: tuple[str, ...]
    placements: tuple[str, ...]
    suffix: str
    rated: bool = True


@dataclass(frozen=True)
class DropoutPlan:
    """The conditional part of a space, worked out: what is offered under which wrapper.

    Attributes:
        wrappers: The wrappers searched.
        groups: Those of them that drop, by what they are offered.
        rate: One value for all sites, or one per site.
        options: Values of the wrappers' own arguments, by name.
        schedule: The schedules searched; `None` where the space does not name any.
        scheduled: The wrappers that are offered all of them.
        decays: Values of the decays of activations, by name.
    """

    wrappers: tuple[str, ...]
    groups: tuple[Group, ...]
    rate: Value | dict[str, Value]
    options: dict[str, Value] = field(default_factory=dict)
    schedule: Value | None = None
    scheduled: tuple[str, ...] = ()
    decays: dict[str, Value] = field(default_factory=dict)

    @property
    def dropping(self) -> list[str]:
        """The wrappers that drop."""
        return [wrapper for group in self.groups for wrapper in group.wrappers]

    @property
    def rated(self) -> list[str]:
        """Those of them that have a rate to search."""
        return [wrapper for group in self.groups if group.rated for wrapper in group.wrappers]


def sample_dropout(plan: DropoutPlan, hp: Any) -> DropoutSample:
    """Registers wrapper, placement, rate, options, schedule and decays; returns the values active now."""
    wrapper = register(hp, "wrapper", _as_value(plan.wrappers))
    # Without dropout anything can be built: the twin of a configuration is, also where it is not searched.
    if wrapper not in (None, "none", *plan.wrappers):
        raise invalid_argument(
            "wrapper",
            expected=f"one that the space has: {', '.join(plan.wrappers)}",
            received=wrapper,
        )
    placement: str | None = None
    rates: dict[str, float] = {}
    options: dict[str, Scalar] = {}
    for group in plan.groups:
        with hp.conditional_scope("wrapper", list(group.wrappers)):
            drawn = register(hp, f"placement{group.suffix}", _as_value(group.placements))
            placement = placement or drawn
            if isinstance(plan.rate, dict) and group.rated:
                rates.update(_sample_site_rates(hp, group, plan.rate))
        options.update(sample_options(hp, plan, group))
    by_site = isinstance(plan.rate, dict)
    rate = (rates or None) if by_site else sample_under(hp, plan.rated, "rate", plan.rate)  # type: ignore[arg-type]
    schedule = sample_under(hp, plan.scheduled, "schedule", plan.schedule)
    # Under no condition: they are no dropout, and the twin has them too.
    decays = {name: register(hp, name, value) for name, value in plan.decays.items()}
    # Inside a conditional scope of the user's that is inactive, every value is None: no dropout.
    return DropoutSample(
        wrapper or "none",
        placement,
        rate if placement else None,
        options=options,
        schedule=schedule or "constant",
        decays={name: drawn for name, drawn in decays.items() if drawn is not None},
    )


def _sample_site_rates(hp: Any, group: Group, rates: dict[str, Value]) -> dict[str, float]:
    """Registers `rate.<site>` under the placements that have the site; returns the active ones."""
    drawn: dict[str, float] = {}
    for site, value in rates.items():
        having = [placement for placement in group.placements if site in placement.split("+")]
        if not having:
            continue
        with hp.conditional_scope(f"placement{group.suffix}", having):
            rate = register(hp, f"rate.{site}{group.suffix}", value)
        if rate is not None:
            drawn[site] = rate
    return drawn


def sample_under(hp: Any, wrappers: Sequence[str], name: str, value: Value | None) -> Any:
    """Registers a hyperparameter under wrappers and returns its value, `None` where it is inactive."""
    if value is None or not wrappers:
        return None
    with hp.conditional_scope("wrapper", list(wrappers)):
        return register(hp, name, value)


def sample_options(hp: Any, plan: DropoutPlan, group: Group) -> dict[str, Scalar]:
    """Registers the options of a group's wrappers and returns the values active now.

    An option is a hyperparameter under its wrapper; if it is about a site, under the placements
    that have it. `has_sites` gives a wrapper with such an option a group of its own, for Keras
    Tuner opens a condition only where the other one was opened when its parent was registered. Where two
    groups have it, each has its own, as `Group.suffix` says.
    """
    drawn: dict[str, Scalar] = {}
    for name, value in plan.options.items():
        option = OPTIONS[name]
        offering = [each for each in plan.groups if _offers(option, each)]
        if group not in offering:
            continue
        own = name + group.suffix * (len(offering) > 1)
        having = [item for item in group.placements if _concerns(option, item)]
        with hp.conditional_scope("wrapper", _owners(option, group)):
            if len(having) == len(group.placements):
                active = register(hp, own, value)
            else:
                with hp.conditional_scope(f"placement{group.suffix}", having):
                    active = register(hp, own, value)
        if active is not None:
            drawn[name] = active
    return drawn


def has_sites(wrapper: str, options: dict[str, Value]) -> bool:
    """Says whether an option of the wrapper is about one site only."""
    return any(wrapper in OPTIONS[name].techniques and OPTIONS[name].site for name in options)


def _offers(option: Option, group: Group) -> bool:
    placed = any(_concerns(option, placement) for placement in group.placements)
    return placed and bool(_owners(option, group))


def _owners(option: Option, group: Group) -> list[str]:
    return [wrapper for wrapper in group.wrappers if wrapper in option.techniques]


def _concerns(option: Option, placement: str) -> bool:
    return option.site is None or option.site in placement.split("+")


def _as_value(words: Iterable[str]) -> Value:
    """Returns a choice of one as a fixed value."""
    choice: tuple[Scalar, ...] = tuple(words)
    return choice[0] if len(choice) == 1 else choice


def plain_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Takes the group suffixes off the names of active hyperparameters.

    A space in which some wrappers are offered other placements than others has one `placement` for
    each such group of wrappers, of which one is active. In a table all of them belong in one column. So it
    is with an option that several groups have.

    Args:
        values: The values of one trial, by the name in Keras Tuner.

    Returns:
        The same values in the same order, by the keys of the search space (`name/` prefixes stay).

    Example:
        >>> plain_names({"wrapper": "lambda", "placement.time_distributed-lambda": "input"})
        {'wrapper': 'lambda', 'placement': 'input'}
    """
    return {_SUFFIX.sub(r"\1", name): value for name, value in values.items()}


def sample_locked(hp: Any, value: Any, dropping: Sequence[str]) -> dict[str, float]:
    """Registers `locked_rate`, or one for each site, under the wrappers that drop."""
    if isinstance(value, Mapping):
        rates = {s: sample_under(hp, dropping, f"locked_rate.{s}", value[s]) for s in value}
    else:
        rates = dict.fromkeys(LOCKED_SITES, sample_under(hp, dropping, "locked_rate", value))
    return {site: rate for site, rate in rates.items() if rate is not None}
