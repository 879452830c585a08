"""Dropout with one mask for all steps of a sequence."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recdrop_tune.rewrites import Tensor, for_all_steps
from recdrop_tune.wrappers.rates import HasRates


@keras.saving.register_keras_serializable(package="recdrop_tune")
class LockedDropout(HasRates, keras.layers.Layer):
    """Drops features of whole sequences: each sample has one mask for all of its steps.

        x'_bt = m_b / (1 - rate) * x_bt,   m_b ~ Bernoulli(1 - rate)

    `keras.layers.Dropout(rate, noise_shape=(None, 1, None))` computes the same; here the rate lives in a
    non-trainable variable: `layer.rate = 0.2` takes effect in a compiled model without a new trace,
    and `RateSchedule` moves it. In training only; a mask on the steps is handed on.

    Args:
        rate: Fraction of the features to drop, 0 <= rate < 1.
        seed: Integer seed of the noise; `None` takes one from Keras's global seed.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: Shape `(batch, time, features)`, or `(batch, features)`.
        training: Whether to drop.

    Raises:
        InvalidArgumentError: The rate is out of range.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import LockedDropout
        >>> LockedDropout(0.4)(keras.ops.ones((2, 3, 5)), training=True).shape
        TensorShape([2, 3, 5])

    Reference:
        Merity, Keskar, Socher (2017), "Regularizing and Optimizing LSTM Language Models", arXiv
        1708.02182, section 4.1; Gal and Ghahramani (2016), arXiv 1512.05287.
    """

    sites = ("locked",)

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set_up_rates(rate, seed)
        self.supports_masking = True

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Drops features when training."""
        if not training:
            return inputs
        noise = self._bernoulli("locked", for_all_steps(ops.shape(inputs)))
        return inputs * ops.cast(noise, inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the inputs."""
        return input_shape
