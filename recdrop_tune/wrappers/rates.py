"""The rates of a layer, which are variables: one for each site, or a single one."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import keras

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import ReplicaSeedGenerator, check_seed

# Rates: what a user may write, and one rate per site from it.

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


# What the layers with one rate of their own share: a rate that is a variable, and no weight.


class SingleRate:
    """Gives a Keras layer a rate which lives in a variable, and is configuration rather than a weight.

    `layer.rate = 0.2` takes effect in a compiled model without a new trace.
    """

    sites: tuple[str]
    """What the layer calls the place where it drops."""
    rates: dict[str, Any]
    add_weight: Any

    def _set_up(self, rate: float, seed: int | None) -> None:
        self._configured = rates_by_site(rate, self.sites)
        self.seed = seed = check_seed(seed)
        self.seed_generator = ReplicaSeedGenerator(seed)
        variable = self.add_weight(
            name=f"{self.sites[0]}_rate",
            shape=(),
            dtype="float32",
            initializer=keras.initializers.Constant(self.rate),
            trainable=False,
            autocast=False,
        )
        self.rates = {self.sites[0]: variable}

    @property
    def rate(self) -> float:
        """The configured rate."""
        return self._configured[self.sites[0]]

    @rate.setter
    def rate(self, value: float) -> None:
        self._configured = rates_by_site(value, self.sites)
        self.rates[self.sites[0]].assign(self.rate)

    @property
    def weights(self) -> list[Any]:
        """The weights, of which the rate is none."""
        (variable,) = self.rates.values()
        return [weight for weight in super().weights if weight is not variable]  # type: ignore[misc]

    def save_own_variables(self, store: Any) -> None:
        """Saves nothing: the config holds the rate."""

    def load_own_variables(self, store: Any) -> None:
        """Loads nothing; see `save_own_variables`."""

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration."""
        own = {"rate": self.rate, "seed": self.seed}
        return {**super().get_config(), **own}  # type: ignore[misc]
