"""What all dropout wrappers share: sites, rates that are variables, and the order of events in a call."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from recdrop_tune import kernels as engine
from recdrop_tune.catalog import TECHNIQUES, parse_placement
from recdrop_tune.errors import invalid_argument
from recdrop_tune.rewrites import KernelCall, Rewrite, Tensor
from recdrop_tune.wrappers.delegation import DelegatesToLayer, check_layer, given_name
from recdrop_tune.wrappers.rates import Rate, rates_by_site


class AbstractDropoutWrapper(DelegatesToLayer, keras.layers.Wrapper):
    """A recurrent layer with dropout at one or several sites.

    In training, noise meets the sequences before the layer (`input`), what units feed back inside
    it (`recurrent`), or what it emits (`output`). At inference the wrapped layer itself runs. The
    wrapped layer is never changed: used alone it is still the plain layer, and both share weights.

    Each rate lives in a non-trainable variable, so `wrapper.rate = 0.4` takes effect in a compiled
    model without a new trace. Rates are configuration, not weights: `weights`, `get_weights()` and
    checkpoints hold the wrapped layer's weights alone.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one,
            without dropout of its own.
        rate: Fraction to drop, 0 <= rate < 1; or a dict with one rate for each site.
        placement: One of the technique's sites, or several joined by `+`.
        seed: Integer seed of the noise; `None` takes one from Keras's global seed.
        **kwargs: `name`, `dtype`, `trainable`. By default the dtype policy is the wrapped layer's, and so is
            the name if the layer was given one: `model.get_layer` finds the wrapper by it.

    Call arguments:
        sequences: Shape `(batch, time, features)`.
        mask: Booleans of shape `(batch, time)`; `False` marks steps to skip.
        training: Whether to drop.
        initial_state: The layer's initial states, each of shape `(batch, units)`.
    """

    technique_id: str
    rewritten_sites: tuple[str, ...] = ("recurrent",)
    """The sites that `rewrite` takes care of."""
    mask_groups = 1
    """Into how many groups the batch is split, each with a kernel call, and so masks, of its own."""

    def __init__(
        self, layer: Any, rate: Rate, placement: str, seed: int | None = None, **kwargs: Any
    ) -> None:
        check_layer(layer)
        kwargs.setdefault("dtype", layer.dtype_policy)
        kwargs.setdefault("name", given_name(layer))
        super().__init__(layer, **kwargs)
        engine.hand_on_input_shape(layer, self)
        technique = TECHNIQUES[self.technique_id]
        self.sites = parse_placement(placement, technique)
        self.placement = "+".join(self.sites)
        self.seed = seed = engine.check_seed(seed)
        # The two directions of a Bidirectional are cloned from one config: offset one of them, or a
        # seed given by the user would make both drop the same units.
        offset = int(seed is not None and self.go_backwards)
        self.seed_generator = engine.ReplicaSeedGenerator(None if seed is None else seed + offset)
        self._configured = rates_by_site(rate, self.sites)
        self.rates = {site: self._add_rate(site, value) for site, value in self._configured.items()}
        self.supports_masking = True
        # Keras checks the number of dimensions by it, before anything else.
        self.input_spec = getattr(layer, "forward_layer", layer).input_spec

    def _add_rate(self, site: str, value: float) -> Any:
        return self.add_weight(
            name=f"{site}_rate",
            shape=(),
            dtype="float32",
            initializer=keras.initializers.Constant(value),
            trainable=False,
            autocast=False,
        )

    @property
    def rate(self) -> float | dict[str, float]:
        """The configured rate: one number if all sites share it, else a dict by site."""
        values = set(self._configured.values())
        return values.pop() if len(values) == 1 else dict(self._configured)

    @rate.setter
    def rate(self, value: Rate) -> None:
        self._configured = rates_by_site(value, self.sites)
        for site, rate in self._configured.items():
            self.rates[site].assign(rate)

    @property
    def weights(self) -> list[Any]:
        """The wrapped layer's weights: rates are configuration."""
        rates = {id(variable) for variable in self.rates.values()}
        return [weight for weight in super().weights if id(weight) not in rates]

    def save_own_variables(self, store: Any) -> None:
        """Saves nothing: the wrapped layer saves its weights, the config holds the rates."""

    def load_own_variables(self, store: Any) -> None:
        """Loads nothing; see `save_own_variables`."""

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Builds the wrapped layer."""
        if not self.layer.built:
            self.layer.build(sequences_shape)
            self.layer.built = True

    def call(
        self,
        sequences: Tensor,
        initial_state: Any = None,
        mask: Tensor | None = None,
        training: bool = False,
    ) -> Any:
        """Runs the layer, with noise at the sites when training. The order is that of Keras's RNNs."""
        if not training:
            return self._run(sequences, mask, initial_state, self._inference_rewrite())
        if "input" in self.sites and "input" not in self.rewritten_sites:
            sequences = self._multiply(sequences, self.input_noise(sequences))
        rewritten = set(self.sites) & set(self.rewritten_sites)
        result = self._run(sequences, mask, initial_state, self.rewrite if rewritten else None)
        return self._drop_output(result) if "output" in self.sites else result

    def _inference_rewrite(self) -> Rewrite | None:
        """The rewrite at inference, for a technique that is not the plain layer there."""
        return None

    def input_noise(self, sequences: Tensor) -> Tensor | None:
        """Draws the factor for the sequences, broadcastable to `(batch, time, features)`.

        For techniques that drop at the input; `None` leaves the sequences to `rewrite`.
        """
        return None

    def output_noise(self, output: Tensor) -> Tensor | None:
        """Draws the factor for the output, `(batch, time, units)` or `(batch, units)`.

        For techniques that drop at the output.
        """
        return None

    def rewrite(self, call: KernelCall) -> KernelCall:
        """Rewrites the kernel call for the `rewritten_sites` among the wrapper's sites."""
        return call

    def _run(
        self, sequences: Tensor, mask: Tensor | None, initial_state: Any, rewrite: Rewrite | None
    ) -> Any:
        return engine.call_layer(
            self.layer,
            sequences,
            rewrite=rewrite,
            groups=self.mask_groups,
            initial_state=initial_state,
            mask=mask,
        )

    def _drop_output(self, result: Any) -> Any:
        layer = self.layer
        halves = isinstance(layer, keras.layers.Bidirectional) and layer.merge_mode is None
        emitted = 2 if halves else 1
        if not isinstance(result, tuple):
            return self._multiply(result, self.output_noise(result))
        outputs = (self._multiply(output, self.output_noise(output)) for output in result[:emitted])
        return (*outputs, *result[emitted:])

    @staticmethod
    def _multiply(tensor: Tensor, noise: Tensor | None) -> Tensor:
        return tensor if noise is None else tensor * ops.cast(noise, tensor.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration: the wrapped layer's, the rates, the placement and the seed."""
        own = {"rate": self.rate, "placement": self.placement, "seed": self.seed}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Makes a wrapper from `get_config()`.

        `keras.layers.Bidirectional` makes its backward layer by adding `go_backwards` to the config
        of the layer it is given: here it belongs to the wrapped layer.

        Raises:
            InvalidArgumentError: It is no such configuration.
        """
        layer: Any = config.get("layer") if isinstance(config, Mapping) else None
        whole = isinstance(layer, Mapping) and isinstance(layer.get("config"), Mapping)
        if not whole or "rate" not in config:
            raise invalid_argument(
                "config",
                expected="what `get_config()` returns, with a `rate` and the configuration of a `layer`",
                received=config,
            )
        config, layer = dict(config), copy.deepcopy(dict(layer))
        del config["layer"]
        if "go_backwards" in config:
            layer["config"] = {**layer["config"], "go_backwards": config.pop("go_backwards")}
        layer = keras.saving.deserialize_keras_object(layer, custom_objects=custom_objects)
        return cls(layer, **config)
