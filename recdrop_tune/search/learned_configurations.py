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
from recdrop_tune.events import readable
from recdrop_tune.models import dropout_layers, walk
from recdrop_tune.oracle import HyperParameter, as_point, complete, is_fixed, plain
from recdrop_tune.results import TuneResult
from recdrop_tune.spaces import SearchSpace, plain_names
from recdrop_tune.wrappers import EmbeddingDropout, LockedDropout

_LEARNED = "learned_rate."
"""Begins the name of a metric that follows a learned rate, behind the name of its layer."""

_LEARNING = tuple(name for name, each in TECHNIQUES.items() if each.learns_rate)

_LEFT_OUT = {
    "per_step": True,
    "tied_gates": True,
    "mask_groups": 1,
    "elements": False,
    "schedule": "constant",
}
"""What is done where a space does not name the key."""

_BESIDE = ("locked_rate", "embedding_rate")
"""Keys for the rates of dropout beside a wrapper."""


def learned_points(learned: Any, space: object) -> list[dict[str, Any]]:
    """Returns what has learned its rates as configurations of a space of fixed rates, for `try_first`.

    There is one for each technique of the space whose mask is that of `concrete`, but of 0 and 1 / (1 - p),
    at the same sites. That is `variational`; `native` at the input alone, and `recurrent` with
    `per_step=False` at the input and the output; and `weight_drop` where single weights of the recurrent
    kernel are all that was dropped (`elements`). Beside other sites no technique drops them: there the
    rates are those of `variational`, which drops rows. `weight_drop` has one mask for a batch, however many
    `mask_groups` have learned.

    Each has what the space offers of the dropout set to what has learned: `mask_groups` to the same number,
    the schedule to `"constant"`, dropout beside the wrapper to the least rate where there was none. The
    points are for a search by one of this package's models, with one dropout whose names have no prefix: not
    for one that is `per_layer`. For `ExistingModel`, which asks for the dropout alone, pass
    `SearchSpace.load(space).of_dropout()`.

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
        InvalidArgumentError: Nothing has learned its rates, or several layers have that drop at different
            sites or in different ways; or the space has no such technique there.
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
    points, lacking = [], {}
    for technique, options in _alike(found):
        begun = _begun(found, technique, offered.space)
        missing = _missing(begun, options, offered.space)
        if begun is None or missing:
            lacking[technique] = (begun is not None, missing)
        else:
            points.append(_filled(found, begun, options, offered.space))
    if not points:
        raise _no_technique(found, lacking, space)
    return points


@dataclass(frozen=True)
class _Found:
    """What was learned.

    Attributes:
        rates: A rate for each site.
        elements: Whether the recurrent site dropped single weights.
        mask_groups: Into how many groups with masks of their own a batch was split there.
        others: Values of hyperparameters, by the names that tables have for them.
        embedding: Whether there may be an embedding.
    """

    rates: Mapping[str, float]
    elements: bool = False
    mask_groups: int = 1
    others: Mapping[str, Any] = field(default_factory=dict)
    embedding: bool = True

    @property
    def placement(self) -> str:
        """The sites, joined by `+`."""
        return "+".join(site for site in SITES if site in self.rates)


def _of_model(model: Any) -> _Found:
    parts = dropout_layers(model) if isinstance(model, keras.layers.Layer) else []
    layers = [layer for layer in parts if layer.learns_rates]
    if not layers:
        raise _nothing(model)
    if not _are_one([set(layer.learned_rates) for layer in layers]):
        raise _differ(model, "sites")
    rates = [item for layer in layers for item in layer.learned_rates.items()]
    options = {
        name: _only([getattr(layer, name) for layer in layers if _recurrent(layer)], name, model)
        for name in ("elements", "mask_groups")
    }
    beside: tuple[tuple[str, Any], ...] = (
        ("locked_rate", LockedDropout),
        ("embedding_rate", EmbeddingDropout),
    )
    others = {
        name: fmean(found)
        for name, kind in beside
        if (found := [layer.rate for layer in parts if isinstance(layer, kind)])
    }
    # Of a layer alone it is not known.
    embedding = not isinstance(model, keras.Model) or any(
        isinstance(layer, keras.layers.Embedding) for layer in walk(model)
    )
    return _Found(_means(rates), **options, others=others, embedding=embedding)


def _of_result(result: TuneResult) -> _Found:
    for _, row in result.trials.iterrows():
        given = as_point({str(name): value for name, value in row.items()})
        names = [name for name in given if name.rpartition("/")[2].startswith(_LEARNED)]
        if given["state"] == "COMPLETE" and names:
            break
    else:
        raise _nothing(result)
    rates = [(name.rpartition(_LEARNED)[2], float(given[name])) for name in names]
    sites: dict[str, set[str]] = {}
    for name, (site, _) in zip(names, rates, strict=True):
        sites.setdefault(name.rpartition("/")[0], set()).add(site)
    if not _are_one(list(sites.values())):
        raise _differ(result, "sites")
    # Not of the row, where a metric may have the name of a hyperparameter.
    trial = result.search.oracle.trials[given["trial_id"]]
    values = as_point(readable(trial.hyperparameters))
    options = {
        name: _only(_of_learning(values, name), name, result)
        for name in ("elements", "mask_groups")
    }
    return _Found(_means(rates), **options, others=values)


def _recurrent(layer: Any) -> bool:
    return "recurrent" in layer.learned_rates


def _of_learning(values: Mapping[str, Any], option: str) -> list[Any]:
    """Returns the values of an option of the layers that learn, whatever prefix their names have."""
    return [
        value
        for name, value in values.items()
        if name.rpartition("/")[2] == option
        and values.get(f"{name.removesuffix(option)}wrapper") in (None, *_LEARNING)
    ]


def _only(values: Sequence[Any], option: str, learned: Any) -> Any:
    if not values:
        return _LEFT_OUT[option]
    if not _are_one(values):
        raise _differ(learned, f"`{option}`")
    return values[0]


def _are_one(values: Sequence[Any]) -> bool:
    return all(value == values[0] for value in values)


def _means(rates: Sequence[tuple[str, float]]) -> dict[str, float]:
    sites = dict.fromkeys(site for site, _ in rates)
    return {site: fmean(rate for each, rate in rates if each == site) for site in sites}


def _alike(found: _Found) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names the techniques whose masks are those that were learned, and what they need for it."""
    sites, stays = set(found.rates), {"schedule": "constant"}
    if found.elements and sites == {"recurrent"}:
        yield "weight_drop", stays
        return
    yield "variational", {"tied_gates": True, "mask_groups": found.mask_groups, **stays}
    if "recurrent" not in sites:
        yield "recurrent", {"per_step": False, **stays}
    if sites == {"input"}:
        yield "native", stays


def _begun(found: _Found, technique: str, space: Sequence[HyperParameter]) -> dict[str, Any] | None:
    """Sets a technique to the sites and rates; `None` where the space does not have it there."""
    offered = _by_name(space)
    point: dict[str, Any] = {"wrapper": technique, "placement": found.placement}
    point |= {name: _nearest(offered[name], rate) for name, rate in _rates(found, offered)}
    return point if _is_of(space, point) else None


def _missing(
    begun: Mapping[str, Any] | None, options: Mapping[str, Any], space: Sequence[HyperParameter]
) -> dict[str, Any]:
    """Returns the options that a technique needs, and does not have in the space."""
    asked = {} if begun is None else plain_names(complete(space, begun))
    return {
        name: value
        for name, value in options.items()
        if (
            not _is_of(space, {**(begun or {}), name: value})
            if name in asked
            else value != _LEFT_OUT[name]
        )
    }


def _filled(
    found: _Found,
    begun: Mapping[str, Any],
    options: Mapping[str, Any],
    space: Sequence[HyperParameter],
) -> dict[str, Any]:
    """Adds to a configuration what is known of all else that the space asks for there."""
    asked, offered = plain_names(complete(space, begun)), _by_name(space)
    point = {**begun, **{name: value for name, value in options.items() if name in asked}}
    for name in asked:
        whole = name.partition(".")[0]
        if whole in _BESIDE and (found.embedding or whole != "embedding_rate"):
            point[name] = _nearest(offered[name], _rate_beside(found, name))
        elif name not in point and name in found.others:
            known = {**point, name: found.others[name]}
            point = known if _is_of(space, known) else point
    return point


def _by_name(space: Sequence[HyperParameter]) -> dict[str, HyperParameter]:
    # What groups of wrappers have of their own is the same in each, but for placements.
    return {name: hp for hp in space for name in plain_names({hp.name: None})}


def _rate_beside(found: _Found, name: str) -> float:
    """Returns a rate of dropout beside the wrapper; 0 where there was none."""
    whole, others = name.partition(".")[0], found.others
    of_sites = [rate for each, rate in others.items() if each.startswith(f"{name}.")]
    return float(others.get(name, others.get(whole, fmean(of_sites) if of_sites else 0.0)))


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
    learning = ", ".join(_LEARNING)
    return invalid_argument(
        "learned",
        expected=f"a model that learns its rates, or a result with a complete trial that did ({learning})",
        received=received,
        fix=f"Wrap a layer by `recdrop_tune.wrap(layer, {learning!r})`, or search a space with "
        f"{{'wrapper': {learning!r}}}.",
    )


def _differ(learned: Any, what: str) -> InvalidArgumentError:
    return invalid_argument(
        "learned",
        expected="layers that drop alike",
        received=learned,
        fix=f"Their {what} differ. Pass one of the layers: `recdrop_tune.models.dropout_layers(model)` lists "
        "those of a model, such as `result.best_model()`.",
    )


def _no_technique(
    found: _Found, lacking: Mapping[str, tuple[bool, Mapping[str, Any]]], space: object
) -> InvalidArgumentError:
    # Where a technique is there it is its options alone that are to be mended.
    there = {name: each for name, each in lacking.items() if each[0]}
    names = " or ".join(
        f"`{name}`{_with(missing)}" for name, (_, missing) in (there or lacking).items()
    )
    return invalid_argument(
        "space",
        expected=f"a technique whose masks are those that were learned, at {found.placement}: {names}",
        received=space,
        fix="It has the technique there: add what stands behind `with`."
        if there
        else "Add it to `wrapper`, and the placement to `placement`.",
    )


def _with(options: Mapping[str, Any]) -> str:
    words = (f"`{name}: {str(value).lower()}`" for name, value in options.items())
    return f" with {' and '.join(words)}" if options else ""
