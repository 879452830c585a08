"""Rates: what a user may write, and one rate per site from it."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real

from recdrop_tune.errors import invalid_argument

Rate = float | Mapping[str, float]
"""One rate for every site of the placement, or one per site: `{"input": 0.2, "recurrent": 0.3}`."""

_EXPECTED = "0 <= rate < 1, or a dict with one such rate for each site of the placement"


def rates_by_site(rate: Rate, sites: tuple[str, ...]) -> dict[str, float]:
    """Resolves a rate into one number per site.

    Args:
        rate: One number in [0, 1), or a mapping from each of `sites` to one.
        sites: The sites of the placement.

    Raises:
        InvalidArgumentError: A rate is out of range, or the mapping's keys are not the sites.

    Example:
        >>> rates_by_site(0.3, ("input", "recurrent"))
        {'input': 0.3, 'recurrent': 0.3}
    """
    if isinstance(rate, Mapping):
        if set(rate) != set(sites):
            raise invalid_argument(
                "rate",
                expected=f"one rate for each site of the placement ({', '.join(sites)})",
                received=dict(rate),
            )
        return {site: _check(rate[site], rate) for site in sites}
    return {site: _check(rate, rate) for site in sites}


def _check(value: object, received: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < 1:  # type: ignore[operator]
        raise invalid_argument(
            "rate",
            expected=_EXPECTED,
            received=dict(received) if isinstance(received, Mapping) else received,
            fix="It is the fraction of units to drop: 0.3 drops 30 % of them.",
        )
    return float(value)
