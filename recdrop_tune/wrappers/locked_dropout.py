"""Dropout with one mask for all steps of a sequence."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recdrop_tune.kernels import for_all_steps
from recdrop_tune.rewrites import Tensor
from recdrop_tune.wrappers.decays import HasDecays
from recdrop_tune.wrappers.rates import HasRates


@keras.saving.register_keras_serializable(package="recdrop_tune")
class LockedDropout(HasRates, HasDecays, keras.layers.Layer):
    """Drops features of whole sequences: each sample has one mask for all its steps.

        x'_bt = m_b / (1 - rate) * x_bt,   m_b ~ Bernoulli(1 - rate)

    `keras.layers.Dropout(rate, noise_shape=(None, 1, None))` computes the same. Here the rate is a
    non-trainable variable: `layer.rate = 0.2` takes effect in a compiled model without a new trace,
    and `RateSchedule` can change it. In training only. A mask on the steps is passed on.

    Args:
        rate: Fraction of the features to drop, 0 <= rate < 1.
        seed: Integer seed of the noise; it is combined with the name, so all layers of a
            model can have one seed. `None` draws one as `keras.layers.Dropout` does.
        activity_decay: Factor of the mean square of the outputs, without masked steps, which is added to
            the training loss: activation regularization after the last layer of a stack, as in AWD-LSTM.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: Shape `(batch, time, features)`, or `(batch, features)`.
        mask: Booleans of shape `(batch, time)`; the decay leaves out `False` steps.
        training: Whether to drop.

    Raises:
        InvalidArgumentError: The rate or the decay is out of range.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import LockedDropout
        >>> LockedDropout(0.4)(keras.ops.ones((2, 3, 5)), training=True).shape
        TensorShape([2, 3, 5])

    Reference:
        Merity, Keskar, Socher (2017), "Regularizing and Optimizing LSTM Language Models", arXiv
        1708.02182, section 4.2; Gal and Ghahramani (2016), arXiv 1512.05287.
    """

    sites = ("locked",)

    def __init__(
        self,
        rate: float,
        *,
        seed: int | None = None,
        activity_decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_up_rates(rate, seed)
        self._set_up_decays(activity_decay)
        self.supports_masking = True
        # For other ranks, such as images, noise of a wrong shape could silently broadcast.
        self.input_spec = keras.layers.InputSpec(min_ndim=2, max_ndim=3)

    def call(self, inputs: Tensor, training: bool = False, mask: Tensor | None = None) -> Tensor:
        """Drops features in training."""
        if not training:
            return inputs
        noise = self._bernoulli("locked", for_all_steps(ops.shape(inputs)))
        dropped = self._times(inputs, noise)
        if self.activity_decay:
            self._add_decays([inputs], [dropped], mask, self.losses)
        return dropped

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the inputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration."""
        return {**super().get_config(), "activity_decay": self.activity_decay}
