"""What the layers with one rate of their own share: a rate that is a variable, and no weight."""

from __future__ import annotations

from typing import Any

import keras

from recdrop_tune.engine import ReplicaSeedGenerator, check_seed
from recdrop_tune.wrappers._rates import rates_by_site


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
