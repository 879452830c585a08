"""The rates of a layer: the forms that users write, and the variables that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import keras
from keras import ops

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import SeparateSeedGenerator, bernoulli, check_seed, derive_seed
from recdrop_tune.rewrites import Tensor

Rate = float | Mapping[str, float]
"""One rate for every site of the placement, or one per site: `{"input": 0.2, "recurrent": 0.3}`."""


def rates_by_site(rate: Rate, sites: tuple[str, ...], zero: bool = True) -> dict[str, float]:
    """Resolves one number in [0, 1), or a mapping from each of `sites` to one, into one number per site."""
    by_site = rate if isinstance(rate, Mapping) else dict.fromkeys(sites, rate)
    shown = dict(rate) if isinstance(rate, Mapping) else rate
    if set(by_site) != set(sites):
        names = ", ".join(sites)
        expected = f"one rate for each site of the placement ({names})"
        raise invalid_argument("rate", expected=expected, received=shown)
    for value in by_site.values():
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not number or not 0 <= value < 1 or not (zero or value):
            span = "0 <= rate < 1" if zero else "0 < rate < 1"
            raise invalid_argument(
                "rate",
                expected=f"{span}, or a dict with one such rate for each site of the placement",
                received=shown,
                fix="A rate is the fraction to drop: 0.3 drops 30 %.",
            )
    return {site: float(by_site[site]) for site in sites}


class HasRates:
    """Gives a Keras layer rates that are variables, but configuration rather than weights.

    `layer.rate = 0.2` takes effect in a compiled model without a new trace. `weights`, `get_weights()` and
    checkpoints do not contain the rates.
    """

    sites: tuple[str, ...]
    """The places where the layer drops, each with a rate."""
    rates: dict[str, Any]
    """The variables by name: one for each site, and further ones of a technique.

    Empty if rates are learned.
    """
    learns_rates = False
    """Whether the rates are learned. The configured ones are then initial values, above 0."""
    add_weight: Any
    compute_dtype: str

    def _set_up_rates(self, rate: Rate, seed: int | None, default: int | None = None) -> None:
        """Makes the rates and the generator of the masks; `default` is its seed without a given one."""
        self.seed = check_seed(seed)
        if self.seed is not None:
            # The layers of a model can have one seed, and so have both directions of a `Bidirectional`. All
            # techniques draw the same masks, because the name is that of the wrapped layer.
            named: Any = getattr(self, "layer", self)
            default = derive_seed(self.seed, named.name, bool(getattr(self, "go_backwards", False)))
        self.seed_generator = SeparateSeedGenerator(default)
        self._configured: dict[str, float] = {}
        self.rates = {}
        for site, value in self._by_site(rate).items():
            self._add_rate(site, value)

    def _by_site(self, rate: Rate) -> dict[str, float]:
        return rates_by_site(rate, self.sites, zero=not self.learns_rates)

    def _add_rate(self, name: str, value: float) -> None:
        self._configured = {**self._configured, name: value}
        self.rates[name] = self.add_weight(
            name=f"{name}_rate",
            shape=(),
            dtype="float32",
            initializer=keras.initializers.Constant(value),
            trainable=False,
            autocast=False,
        )

    def _assign_rate(self, name: str, value: float) -> None:
        self.rates[name].assign(value)

    def _bernoulli(self, site: str, shape: tuple[Any, ...]) -> Tensor:
        """Draws dropout's noise with the rate of a site."""
        return bernoulli(shape, self.rates[site], self.seed_generator)

    def _times(self, tensor: Tensor, noise: Tensor) -> Tensor:
        """Multiplies by noise. Integers, which Keras does not cast, get the type of the layer."""
        if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype)):
            tensor = ops.cast(tensor, self.compute_dtype)
        return tensor * ops.cast(noise, tensor.dtype)

    @property
    def configured_rates(self) -> dict[str, float]:
        """The configured value of each of the `rates`. A schedule changes only the variables."""
        return dict(self._configured)

    @configured_rates.setter
    def configured_rates(self, values: Mapping[str, float]) -> None:
        self._configured = {**self._configured, **values}
        for name, value in values.items():
            self._assign_rate(name, value)

    @property
    def rate(self) -> float | dict[str, float]:
        """The configured rate: one number if all sites share it, else a dict by site."""
        by_site = {site: self._configured[site] for site in self.sites}
        return by_site if len(set(by_site.values())) > 1 else by_site[self.sites[0]]

    @rate.setter
    def rate(self, value: Rate) -> None:
        self.configured_rates = self._by_site(value)

    @property
    def weights(self) -> list[Any]:
        """The layer's weights, without the rates."""
        rates = {id(variable) for variable in self.rates.values()}
        return [weight for weight in super().weights if id(weight) not in rates]  # type: ignore[misc]

    def save_own_variables(self, store: Any) -> None:
        """Saves nothing: rates are in the configuration, and a wrapped layer saves its own weights."""

    def load_own_variables(self, store: Any) -> None:
        """Loads nothing; see `save_own_variables`."""

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}  # type: ignore[misc]
