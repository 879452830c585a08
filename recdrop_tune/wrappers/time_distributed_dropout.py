"""Dropout at every time step of a layer's input or output: `TimeDistributed(Dropout)`, in one call."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recdrop_tune.rewrites import Tensor, bernoulli
from recdrop_tune.wrappers.rates import Rate
from recdrop_tune.wrappers.wrapper import AbstractDropoutWrapper


@keras.saving.register_keras_serializable(package="recdrop_tune")
class TimeDistributedDropoutWrapper(AbstractDropoutWrapper):
    """Drops features of the input or the output afresh at each time step.

        x'_t = x_t * m_t / (1 - rate),   m_t ~ Bernoulli(1 - rate), one for each sample and step

    What `TimeDistributed(Dropout(rate))` before or after the layer computes. The recurrence is
    untouched, so the layer stays on cuDNN. Masks: per sample, per step. Inference: the plain layer.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one.
        rate: Fraction to drop, 0 <= rate < 1; or a dict with one rate for each site.
        placement: `"input"`, `"output"` or `"input+output"`.
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
        >>> from recdrop_tune.wrappers import TimeDistributedDropoutWrapper
        >>> layer = TimeDistributedDropoutWrapper(keras.layers.LSTM(4), rate=0.5, placement="output")
        >>> layer(keras.ops.ones((2, 3, 5)), training=True).shape
        TensorShape([2, 4])

    Reference:
        Zaremba, Sutskever, Vinyals (2014), "Recurrent Neural Network Regularization", arXiv 1409.2329.
    """

    technique_id = "time_distributed"

    def __init__(
        self,
        layer: Any,
        rate: Rate,
        placement: str = "input",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, rate, placement, seed, **kwargs)

    def input_noise(self, sequences: Tensor) -> Tensor:
        """Draws one factor for each sample, step and feature."""
        return bernoulli(ops.shape(sequences), self.rates["input"], self.seed_generator)

    def output_noise(self, output: Tensor) -> Tensor:
        """Draws one factor for each sample, step and unit."""
        return bernoulli(ops.shape(output), self.rates["output"], self.seed_generator)
