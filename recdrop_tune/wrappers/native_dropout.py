"""Keras's own dropout and recurrent_dropout, as the baseline among the wrappers."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recdrop_tune.rewrites import GATES, KernelCall, Tensor, bernoulli, drop_gate_inputs
from recdrop_tune.wrappers.rates import Rate
from recdrop_tune.wrappers.wrapper import AbstractDropoutWrapper


@keras.saving.register_keras_serializable(package="recdrop_tune")
class NativeDropoutWrapper(AbstractDropoutWrapper):
    """Drops as `keras.layers.LSTM(dropout=..., recurrent_dropout=...)` does: the baseline.

        z_g = (x_t * m_x,g / (1 - p)) W_g + (h_{t-1} * m_h,g / (1 - q)) U_g + b_g

    One mask for each sample and sequence; with `recurrent` among the sites also one for each gate,
    which cuDNN cannot compute: such a layer leaves cuDNN, as Keras's own does. With `input` alone
    it stays there. The equations are Keras's; the rates can be changed without a new trace.
    Inference: the plain layer.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one.
        rate: Fraction to drop, 0 <= rate < 1; or a dict with one rate for each site.
        placement: `"input"` (Keras's `dropout`), `"recurrent"` (its `recurrent_dropout`) or
            `"input+recurrent"`.
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
        >>> from recdrop_tune.wrappers import NativeDropoutWrapper
        >>> layer = NativeDropoutWrapper(keras.layers.LSTM(4), rate={"input": 0.1, "recurrent": 0.3},
        ...                              placement="input+recurrent")
        >>> layer(keras.ops.ones((2, 3, 5)), training=True).shape
        TensorShape([2, 4])

    Reference:
        Gal and Ghahramani (2016), "A Theoretically Grounded Application of Dropout in Recurrent Neural
        Networks", arXiv 1512.05287 (with untied gates).
    """

    technique_id = "native"

    def __init__(
        self,
        layer: Any,
        rate: Rate,
        placement: str = "recurrent",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, rate, placement, seed, **kwargs)

    def input_noise(self, sequences: Tensor) -> Tensor | None:
        """Draws one factor for each sample and feature; `None` where each gate has its own."""
        if "recurrent" in self.sites:
            return None
        batch, _, features = ops.shape(sequences)
        return bernoulli((batch, 1, features), self.rates["input"], self.seed_generator)

    def rewrite(self, call: KernelCall) -> KernelCall:
        """Gives each gate a noise of its own on what it reads."""
        gates = len(GATES[call.cell])
        batch, _, features = ops.shape(call.sequences)
        input_noise = None
        if "input" in self.sites:
            shape = (gates, batch, features)
            input_noise = bernoulli(shape, self.rates["input"], self.seed_generator)
        shape = (gates, batch, call.units)
        state_noise = bernoulli(shape, self.rates["recurrent"], self.seed_generator)
        return drop_gate_inputs(call, input_noise, state_noise)
