"""What all dropout wrappers share: the order of events in a call."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recdrop_tune.catalog import TECHNIQUES, parse_placement
from recdrop_tune.kernels import Obstacle, Rewriting, call_layer
from recdrop_tune.rewrites import KernelCall, Rewrite, Tensor
from recdrop_tune.wrappers.rates import HasRates, Rate
from recdrop_tune.wrappers.recurrent_wrapper import RecurrentWrapper


def group_in_words(groups: int) -> str:
    """Says of a mask that a group of the batch shares, whose it is."""
    words = {1: "the batch", 2: "half the batch", 3: "a third of the batch"}
    return words.get(groups, f"a {groups}th of the batch")


class AbstractDropoutWrapper(HasRates, RecurrentWrapper):
    """A recurrent layer with dropout at one or several sites.

    In training, noise meets the sequences before the layer (`input`), what units feed back inside
    it (`recurrent`), or what it emits (`output`). At inference the wrapped layer itself runs. The
    wrapped layer is never changed: used alone it is still the plain layer, and both share weights.

    Each rate lives in a non-trainable variable, so `wrapper.rate = 0.4` takes effect in a compiled
    model without a new trace. Rates are configuration, not weights: `weights`, `get_weights()` and
    checkpoints hold the wrapped layer's weights alone. (Where rates are learned, by `concrete`, they are
    weights, in files too.)

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one,
            without dropout of its own.
        rate: Fraction to drop, 0 <= rate < 1; or a dict with one rate for each site.
        placement: One of the technique's sites, or several joined by `+`.
        seed: Integer seed of the noise; `None` takes one from Keras's global seed.
        activity_decay: Factor of the mean square of what the layer emits, dropout at the output included,
            which is added to the loss in training; 0 adds nothing. See `ActivityDecay`.
        temporal_decay: Factor of the mean square of its change from step to step, without that dropout.
        **kwargs: `name`, `dtype`, `trainable`. By default the dtype policy is the wrapped layer's, and so is
            the name if the layer was given one: `model.get_layer` finds the wrapper by it.

    Call arguments:
        sequences: Shape `(batch, time, features)`.
        mask: Booleans of shape `(batch, time)`; `False` marks steps to skip.
        training: Whether to drop.
        initial_state: The layer's initial states, each of shape `(batch, units)`.

    Raises:
        InvalidArgumentError: The layer, a rate, the placement or an option is not one of the above.
    """

    needed = ("rate",)
    technique_id: str
    rewritten_sites: tuple[str, ...] = ("recurrent",)
    """The sites that `rewrite` takes care of."""
    mask_groups = 1
    """Into how many groups the batch is split, each with a kernel call, and so masks, of its own."""
    forces_gates = False
    """Whether `rewrite` forces gates."""

    def __init__(
        self,
        layer: Any,
        rate: Rate,
        placement: str = "recurrent",
        seed: int | None = None,
        activity_decay: float = 0.0,
        temporal_decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, activity_decay, temporal_decay, **kwargs)
        self.sites = parse_placement(placement, TECHNIQUES[self.technique_id])
        self.placement = "+".join(self.sites)
        # The two directions of a Bidirectional are cloned from one config: offset one of them, or a
        # seed given by the user would make both drop the same units.
        self._set_up_rates(rate, seed, offset=int(bool(self.go_backwards)))

    def call(
        self,
        sequences: Tensor,
        initial_state: Any = None,
        mask: Tensor | None = None,
        training: bool = False,
    ) -> Any:
        """Runs the layer, with noise at the sites when training. The order is that of Keras's RNNs."""
        loss = None
        if not training:
            rewrite = self.inference_rewrite()
        else:
            loss = self.regularization()
            # Once in a forward pass, however often a model calls the layer.
            if loss is not None and not self._own_losses():
                # Of the type that Keras adds losses up in, whatever that of the layer.
                self.add_loss(ops.cast(loss, keras.config.floatx()))
            rewrite = self.rewrite if self._is_rewritten else None
            if "input" in self.sites and "input" not in self.rewritten_sites:
                sequences = self._drop("input", sequences)
        result = call_layer(
            self.layer,
            sequences,
            rewrite=rewrite,
            groups=self.mask_groups,
            initial_state=initial_state,
            mask=mask,
        )
        if not training:
            return result
        dropped = self._drop_output(result) if "output" in self.sites else result
        self._decay(result, dropped, mask, others=int(loss is not None))
        return dropped

    @property
    def _is_rewritten(self) -> bool:
        return bool(set(self.sites) & set(self.rewritten_sites))

    def inference_rewrite(self) -> Rewrite | None:
        """Returns the rewrite at inference, for a technique that is not the plain layer there."""
        return None

    def noise(self, site: str, tensor: Tensor) -> Tensor | None:
        """Draws the factor for what passes a site, for techniques that drop at the input or the output.

        Args:
            site: `"input"` or `"output"`.
            tensor: What passes: `(batch, time, features)`, or at the output also `(batch, units)`.

        Returns:
            What broadcasts to the tensor's shape; `None` leaves the tensor to `rewrite`.
        """
        return None

    def regularization(self) -> Tensor | None:
        """Returns what the technique adds to the loss in training: a scalar, or `None` for nothing.

        It is added once in a forward pass of a model, in which the layer may be called several times.
        """
        return None

    def rewrite(self, call: KernelCall) -> KernelCall:
        """Rewrites the kernel call for the `rewritten_sites` among the wrapper's sites."""
        return call

    @property
    def shares_mask(self) -> str:
        """Who shares a mask, in words, for `explain`."""
        return ""

    @property
    def obstacle(self) -> Obstacle | None:
        """What training asks for that no fused kernel computes; `None` if nothing."""
        return None

    @property
    def rewriting(self) -> Rewriting:
        """What the technique does to the layer's kernel call in training."""
        return Rewriting(
            wrapped=True,
            rewritten=self._is_rewritten,
            forces_gates=self.forces_gates and "recurrent" in self.sites,
            obstacle=self.obstacle,
        )

    def _drop(self, site: str, tensor: Tensor) -> Tensor:
        noise = self.noise(site, tensor)
        return tensor if noise is None else self._times(tensor, noise)

    def _drop_output(self, result: Any) -> Any:
        if not isinstance(result, tuple):
            return self._drop("output", result)
        emitted = self._number_of_outputs()
        outputs = (self._drop("output", output) for output in result[:emitted])
        return (*outputs, *result[emitted:])

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration: the wrapped layer's, the rates, the placement and the seed."""
        return {**super().get_config(), "placement": self.placement}
