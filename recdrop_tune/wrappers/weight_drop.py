"""DropConnect on the kernels of a recurrent layer, as in AWD-LSTM."""

from __future__ import annotations

import keras
from keras import ops

from recdrop_tune.rewrites import KernelCall, drop_weights
from recdrop_tune.wrappers.wrapper import AbstractDropoutWrapper


@keras.saving.register_keras_serializable(package="recdrop_tune")
class WeightDropWrapper(AbstractDropoutWrapper):
    """Drops single weights, with one draw for a whole forward pass.

        z = x_t (W * M_x) + h_{t-1} (U * M_h) + b,   M ~ Bernoulli(1 - rate) / (1 - rate)

    `"recurrent"` drops weights of the recurrent kernel (the weight-drop of AWD-LSTM), `"input"` those
    of the kernel. All samples and steps share the draw; each direction of a `Bidirectional` has its own.
    The layer's own weights are never overwritten. Inference: the plain layer.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one,
            without its own dropout.
        rate: Fraction to drop, 0 <= rate < 1; or a dict with one rate for each site.
        placement: `"recurrent"`, `"input"` or `"input+recurrent"`.
        **kwargs: `seed`, `activity_decay`, `temporal_decay`, `name`, `dtype` and `trainable`, as in
            `AbstractDropoutWrapper`, where the arguments of a call are too.

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
    shares_mask = "all samples and steps of a batch"

    def rewrite(self, call: KernelCall) -> KernelCall:
        """Drops weights of the kernels."""
        weights = {"input": call.kernel, "recurrent": call.recurrent_kernel}
        noise = {site: self._bernoulli(site, ops.shape(weights[site])) for site in self.sites}
        return drop_weights(call, noise.get("input"), noise.get("recurrent"))
