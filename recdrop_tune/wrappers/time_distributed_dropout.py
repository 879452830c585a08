"""Dropout at every time step of a layer's input or output: `TimeDistributed(Dropout)`, in one call."""

from __future__ import annotations

from typing import Any, Unpack

import keras
from keras import ops

from recdrop_tune.rewrites import Tensor
from recdrop_tune.wrappers.rates import Rate
from recdrop_tune.wrappers.wrapper import AbstractDropoutWrapper, Shared


@keras.saving.register_keras_serializable(package="recdrop_tune")
class TimeDistributedDropoutWrapper(AbstractDropoutWrapper):
    """Drops features of the input or the output, with a new mask at each time step.

        x'_t = x_t * m_t / (1 - rate),   m_t ~ Bernoulli(1 - rate), one for each sample and step

    The same as `TimeDistributed(Dropout(rate))` before or after the layer. The recurrence is not
    changed, so the layer stays on cuDNN. Inference: the plain layer.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one,
            without its own dropout.
        rate: Fraction to drop, 0 <= rate < 1; or a dict with one rate for each site.
        placement: `"input"`, `"output"` or `"input+output"`.
        **shared: `seed`, `activity_decay`, `temporal_decay`, `name`, `dtype` and `trainable`, as in
            `AbstractDropoutWrapper`, where the arguments of a call are too.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import TimeDistributedDropoutWrapper
        >>> layer = TimeDistributedDropoutWrapper(keras.layers.LSTM(4), rate=0.5, placement="output")
        >>> layer(keras.ops.ones((2, 3, 5)), training=True).shape
        TensorShape([2, 4])

    Reference:
        Zaremba, Sutskever, Vinyals (2014), "Recurrent Neural Network Regularization", arXiv 1409.2329.
    """

    technique_id = "time_distributed"
    shares_mask = "nobody: one per sample and step"

    def __init__(
        self, layer: Any, rate: Rate, *, placement: str = "input", **shared: Unpack[Shared]
    ) -> None:
        super().__init__(layer, rate, placement=placement, **shared)

    def noise(self, site: str, tensor: Tensor) -> Tensor:
        """Draws one factor for each sample, step and feature."""
        return self._bernoulli(site, ops.shape(tensor))
