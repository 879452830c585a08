"""Rates that a model has learned, as configurations that a search of fixed rates tries first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import keras
import keras_tuner as kt

from recdrop_tune.catalog import SITES, TECHNIQUES
from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.models import dropout_layers
from recdrop_tune.oracle import HyperParameter, as_point, complete, is_fixed, plain
from recdrop_tune.results import TuneResult
from recdrop_tune.spaces import SearchSpace, plain_names

_LEARNED = "learned_rate."
"""Begins the name of a metric that follows a learned rate, behind the name of its layer."""

_OF_DROPOUT = ("wrapper", "placement", "rate", "samples", "tau", "elements", "mask_groups")
"""Hyperparameters that say how `concrete` drops."""


def learned_points(learned: Any, space: object) -> list[dict[str, Any]]:
    """Returns what has learned its rates as configurations of a space of fixed rates, for `try_first`.

    There is one for each technique of the space whose mask is that of `concrete`, but of 0 and 1 / (1 - p),
    at the same sites. That is `variational`; `native` at the input alone, and `recurrent` with
    `per_step=False` at the input and the output; and `weight_drop` where single weights of the recurrent
    kernel are all that was dropped (`elements`). Beside other sites no technique drops them: there the
    rates are those of `variational`, which drops rows.

    A rate is the nearest that the space offers, so that one beyond its range becomes the end of it. Where
    several layers have learned, it is the mean over them; where the space has one rate for all sites, the
    mean over these.

    Args:
        learned: A model with the wrapper `concrete`, or a result of `tune`. Of a result it is the best
            complete trial that has learned, at its best epoch; what the space offers of its other
            hyperparameters, such as `units`, comes too.
        space: The space of the search to come: anything that `SearchSpace.load` takes.

    Returns:
        Configurations for `Optuna(try_first=...)`.

    Raises:
        InvalidArgumentError: Nothing has learned its rates, or the space has no such technique there.
        SearchSpaceError: The space is not valid.

    Example:
        >>> result = recdrop_tune.tune((x, y), (x_val, y_val), space={"wrapper": "concrete"}, max_trials=3)
        >>> points = recdrop_tune.learned_points(result, "full")
        >>> tuner = recdrop_tune.Optuna(try_first=points)
        >>> recdrop_tune.tune((x, y), (x_val, y_val), space="full", max_trials=30, tuner=tuner)
    """
    found = _of_result(learned) if isinstance(learned, TuneResult) else _of_model(learned)
    offered = kt.HyperParameters()
    SearchSpace.load(space).sample(offered, embedding=True)
    points = [
        point
        for technique, options in _alike(found)
        if (point := _point(found, technique, options, offered.space)) is not None
    ]
    if not points:
        names = " or ".join(f"`{name}`" for name, _ in _alike(found))
        raise invalid_argument(
            "space",
            expected=f"a technique whose masks are those that were learned, at {found.placement}: {names}",
            received=space,
            fix="Add it to `wrapper`, and the placement to `placement`.",
        )
    return points


@dataclass(frozen=True)
class _Found:
    """What was learned.

    Attributes:
        rates: A rate for each site.
        elements: Whether the recurrent site dropped single weights.
        others: Values of other hyperparameters, by the names that tables have for them.
    """

    rates: Mapping[str, float]
    elements: bool = False
    others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def placement(self) -> str:
        """The sites, joined by `+`."""
        return "+".join(site for site in SITES if site in self.rates)


def _of_model(model: Any) -> _Found:
    parts = dropout_layers(model) if isinstance(model, keras.layers.Layer) else []
    layers = [layer for layer in parts if layer.learns_rates]
    if not layers:
        raise _nothing(model)
    rates = [item for layer in layers for item in layer.learned_rates.items()]
    return _Found(_means(rates), elements=all(layer.elements for layer in layers))


def _of_result(result: TuneResult) -> _Found:
    for _, row in result.trials.iterrows():
        given = as_point({str(name): value for name, value in row.items()})
        names = [name for name in given if name.rpartition("/")[2].startswith(_LEARNED)]
        if given["state"] == "COMPLETE" and names:
            rates = [(name.rpartition(_LEARNED)[2], float(given[name])) for name in names]
            others = {name: value for name, value in given.items() if name not in _OF_DROPOUT}
            return _Found(_means(rates), bool(given.get("elements", False)), others)
    raise _nothing(result)


def _means(rates: Sequence[tuple[str, float]]) -> dict[str, float]:
    sites = dict.fromkeys(site for site, _ in rates)
    return {site: fmean(rate for each, rate in rates if each == site) for site in sites}


def _alike(found: _Found) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names the techniques whose masks are those that were learned, and what they need for it."""
    sites = set(found.rates)
    if found.elements and sites == {"recurrent"}:
        yield "weight_drop", {}
        return
    yield "variational", {"tied_gates": True}
    if "recurrent" not in sites:
        yield "recurrent", {"per_step": False}
    if sites == {"input"}:
        yield "native", {}


def _point(
    found: _Found, technique: str, options: Mapping[str, Any], space: Sequence[HyperParameter]
) -> dict[str, Any] | None:
    """Makes the configuration of one technique; `None` where the space does not offer it."""
    offered: dict[str, list[HyperParameter]] = {}
    for hp in space:
        (name,) = plain_names({hp.name: None})
        offered.setdefault(name, []).append(hp)
    point: dict[str, Any] = {"wrapper": technique, "placement": found.placement}
    for name, rate in _rates(found, offered):
        point[name] = _nearest(offered[name][0], rate)
    # Where the space does not name it, `per_step` is true, and `tied_gates` what is wanted.
    if "per_step" in options and "per_step" not in offered:
        return None
    needed = {name: value for name, value in options.items() if name in offered}
    if "recurrent" not in found.rates:
        needed.pop("tied_gates", None)
    point |= needed
    if not _is_of(space, point):
        return None
    for name, value in found.others.items():
        if name in offered and _is_of(space, {**point, name: value}):
            point[name] = value
    return point


def _rates(found: _Found, offered: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    if "rate" in offered:
        yield "rate", fmean(found.rates.values())
    for site, rate in found.rates.items():
        if f"rate.{site}" in offered:
            yield f"rate.{site}", rate


def _nearest(hp: HyperParameter, rate: float) -> float:
    if is_fixed(hp):
        return float(hp.value)
    if hasattr(hp, "min_value") and hp.step is None:
        return float(min(max(rate, hp.min_value), hp.max_value))
    return float(plain(hp, min(hp.values, key=lambda value: abs(value - rate))))


def _is_of(space: Sequence[HyperParameter], point: Mapping[str, Any]) -> bool:
    try:
        complete(space, point)
    except InvalidArgumentError:
        return False
    return True


def _nothing(received: Any) -> InvalidArgumentError:
    learning = ", ".join(name for name, each in TECHNIQUES.items() if each.learns_rate)
    return invalid_argument(
        "learned",
        expected=f"a model that learns its rates, or a result with a complete trial that did ({learning})",
        received=received,
        fix=f"Wrap a layer by `recdrop_tune.wrap(layer, {learning!r})`, or search a space with "
        f"{{'wrapper': {learning!r}}}.",
    )
