"""DropConnect on the kernels of a recurrent layer, as in AWD-LSTM."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recdrop_tune.rewrites import KernelCall, Tensor, bernoulli, drop_weights
from recdrop_tune.wrappers.rates import Rate
from recdrop_tune.wrappers.wrapper import AbstractDropoutWrapper


@keras.saving.register_keras_serializable(package="recdrop_tune")
class WeightDropWrapper(AbstractDropoutWrapper):
    """Drops single weights, once for a whole forward pass.

        z = x_t (W * M_x) + h_{t-1} (U * M_h) + b,   M ~ Bernoulli(1 - rate) / (1 - rate)

    `"recurrent"` drops weights of the recurrent kernel (the weight-drop of AWD-LSTM), `"input"` those
    of the kernel. All samples and steps share the draw, both directions of a `Bidirectional` have
    one each. The layer's own weights are never overwritten. Inference: the plain layer.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one.
        rate: Fraction of weights to drop, 0 <= rate < 1; or a dict with one rate for each site.
        placement: `"recurrent"`, `"input"` or `"input+recurrent"`.
        seed: Integer seed of the noise.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        sequences: Shape `(batch, time, features)`.
        mask: Booleans of shape `(batch, time)`.
        training: Whether to drop.
        initial_state: The layer's initial states, each of shape `(batch, units)`.

    Raises:
        InvalidArgumentError: The layer, a rate or the placement is not one of the above.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import WeightDropWrapper
        >>> layer = WeightDropWrapper(keras.layers.LSTM(4), rate=0.5)
        >>> layer(keras.ops.ones((2, 3, 5)), training=True).shape
        TensorShape([2, 4])

    Reference:
        Merity, Keskar, Socher (2017), "Regularizing and Optimizing LSTM Language Models", arXiv
        1708.02182; Wan et al. (2013), "Regularization of Neural Networks using DropConnect", ICML.
    """

    technique_id = "weight_drop"
    rewritten_sites = ("input", "recurrent")

    def __init__(
        self,
        layer: Any,
        rate: Rate,
        placement: str = "recurrent",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, rate, placement, seed, **kwargs)

    def rewrite(self, call: KernelCall) -> KernelCall:
        """Drops weights of the kernels."""
        return drop_weights(
            call,
            self._noise("input", call.kernel),
            self._noise("recurrent", call.recurrent_kernel),
        )

    def _noise(self, site: str, weights: Tensor) -> Tensor | None:
        if site not in self.sites:
            return None
        return bernoulli(ops.shape(weights), self.rates[site], self.seed_generator)
