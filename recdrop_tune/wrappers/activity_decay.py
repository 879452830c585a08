"""The decays of activations around a recurrent layer that drops nothing."""

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

    h_t is what the layer emits at a step, and d_t the same with dropout at the output. The means are over
    samples, steps and units; masked steps count in neither, and a pair of steps counts where both do. Of a
    `Bidirectional` the outputs of both directions count.

    This layer drops nothing: it is the one that `wrap(layer, "none", activity_decay=2.0)` gives. All
    dropout wrappers take the two arguments too, so that a model with dropout and one without can have the
    same decays. They are added in training only, so that `val_loss` stays the loss of the task; a training
    loop that does not add `model.losses` learns without them. Inference: the plain layer.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one.
        activity_decay: The factor of the first term (AR), 0 or more. Of a layer that emits its last
            step alone, that step counts.
        temporal_decay: The factor of the second term (TAR), 0 or more; above 0 the layer has to have
            `return_sequences=True`.

    For `**kwargs` see `AbstractDropoutWrapper`, also for the arguments of a call.

    Raises:
        InvalidArgumentError: The layer or a decay is not one of the above.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import ActivityDecay
        >>> layer = ActivityDecay(keras.layers.LSTM(4, return_sequences=True), 2.0, temporal_decay=1.0)
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
        """Runs the layer, and adds the decays when training. The order is that of Keras's RNNs."""
        result = call_layer(
            self.layer, sequences, rewrite=None, initial_state=initial_state, mask=mask
        )
        if training:
            self._decay(result, result, mask)
        return result
