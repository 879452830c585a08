"""The dropout beside the wrapper: locked dropout around the layers, and dropout of word types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recdrop_tune.catalog import LOCKED_SITES
from recdrop_tune.spaces._register import register
from recdrop_tune.spaces._values import Value


def sample_locked(
    hp: Any, value: Value | Mapping[str, Value] | None, dropping: Sequence[str]
) -> dict[str, float]:
    """Registers `locked_rate`, or one for each site, under the wrappers that drop.

    Args:
        hp: `keras_tuner.HyperParameters`.
        value: One value for all sites, one for each, or `None` for no locked dropout.
        dropping: The wrappers that drop.

    Returns:
        The rates active now, by site.
    """
    if value is None or not dropping:
        return {}
    with hp.conditional_scope("wrapper", dropping):
        if isinstance(value, Mapping):
            rates = {site: register(hp, f"locked_rate.{site}", value[site]) for site in value}
        else:
            rates = dict.fromkeys(LOCKED_SITES, register(hp, "locked_rate", value))
    return {site: rate for site, rate in rates.items() if rate is not None}


def sample_embedding_rate(hp: Any, value: Value | None, dropping: Sequence[str]) -> float | None:
    """Registers `embedding_rate` under the wrappers that drop; returns it where it is active."""
    if value is None or not dropping:
        return None
    with hp.conditional_scope("wrapper", dropping):
        rate: float | None = register(hp, "embedding_rate", value)
    return rate
