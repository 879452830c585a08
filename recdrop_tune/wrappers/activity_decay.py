"""The decays of activations, for a recurrent layer without dropout."""

from __future__ import annotations

from typing import Any

import keras

from recdrop_tune.kernels import call_layer
from recdrop_tune.rewrites import Tensor
from recdrop_tune.wrappers.recurrent_wrapper import RecurrentWrapper


@keras.saving.register_keras_serializable(package="recdrop_tune")
class ActivityDecay(RecurrentWrapper):
    """Adds to the loss how large a layer's activations are, and how much they change from step to step.

        activity_decay * mean(d_t^2) + temporal_decay * mean((h_{t+1} - h_t)^2)

    h_t is the layer's output at a step, and d_t the same after dropout. The means are over samples, steps and
    units. Masked steps are left out of both; a pair of steps counts if both steps do. A `Bidirectional`
    counts the outputs of both directions. `RecurrentDropoutWrapper` drops units of an LSTM inside the layer:
    d_t has its masks, and the second mean is over the units that are kept at both steps, without their scale.

    This layer does not drop; `wrap(layer, "none", activity_decay=2.0)` returns it. All dropout wrappers take
    the two arguments too, so that models with and without dropout can have the same decays. They are added
    only in training, so `val_loss` stays the loss of the task. A custom training loop has to add
    `model.losses`. Inference: the plain layer.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one.
        activity_decay: The factor of the first term (AR), 0 or more. If the layer returns only its last
            step, that step counts.
        temporal_decay: The factor of the second term (TAR), 0 or more; above 0 the layer must have
            `return_sequences=True`.
        **kwargs: `name`, `dtype`, `trainable`; see `AbstractDropoutWrapper`.

    Call arguments:
        sequences: Shape `(batch, time, features)`.
        initial_state: The layer's initial states, each of shape `(batch, units)`.
        mask: Booleans of shape `(batch, time)`; `False` marks steps to skip.
        training: Whether to add the decays.

    Raises:
        InvalidArgumentError: The layer or a decay is not as described above.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import ActivityDecay
        >>> layer = ActivityDecay(keras.layers.LSTM(4, return_sequences=True), activity_decay=2.0)
        >>> layer(keras.ops.ones((2, 3, 5)), training=True).shape
        TensorShape([2, 3, 4])
        >>> len(layer.losses)
        1

    Reference:
        Merity, McCann, Socher (2017), "Revisiting Activation Regularization for Language RNNs", arXiv
        1708.01009.
    """

    def call(
        self,
        sequences: Tensor,
        initial_state: Any = None,
        mask: Tensor | None = None,
        training: bool = False,
    ) -> Any:
        """Runs the layer; in training, adds the decays. Arguments are in the order of Keras's RNNs."""
        result = call_layer(
            self.layer, sequences, rewrite=None, initial_state=initial_state, mask=mask
        )
        if training:
            self._decay(result, result, mask)
        return result
