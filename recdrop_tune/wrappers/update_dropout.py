"""Recurrent dropout without memory loss: drops what a step adds to an LSTM's cell."""

from __future__ import annotations

import keras
from keras import ops

from recdrop_tune.kernels import dropped
from recdrop_tune.rewrites import KernelCall, Rewrite, drop_update, expect_update
from recdrop_tune.wrappers.recurrent_dropout import RecurrentDropoutWrapper


@keras.saving.register_keras_serializable(package="recdrop_tune")
class UpdateDropoutWrapper(RecurrentDropoutWrapper):
    """Drops the update of an LSTM's cell, so that its memory keeps what it has.

        c_t = f_t * c_{t-1} + i_t * m_t * g_t,   m ~ Bernoulli(1 - rate)

    The input gate of a dropped unit is forced to 0, in one unmodified cuDNN call. Nothing is scaled inside
    the layer, and its outputs are not masked.

    Inference is *not* the plain layer: it computes the expectation, c_t = f_t * c_{t-1} + (1 - rate) * i_t *
    g_t. No fused kernel does, so it runs in the step loop. At the input and the output, the wrapper drops as
    `RecurrentDropoutWrapper` does.

    Args:
        layer: A `keras.layers.LSTM`, or `keras.layers.Bidirectional` of one, without its own dropout.
        rate: Fraction to drop, 0 <= rate < 1; or a dict with one rate for each site.
        placement: `"input"`, `"recurrent"`, `"output"`, or several joined by `+`.
        per_step: Whether to draw a new mask at each step, at every site, instead of one for the whole
            sequence.
        **shared: `seed`, `activity_decay`, `temporal_decay`, `name`, `dtype` and `trainable`, as in
            `AbstractDropoutWrapper`, where the arguments of a call are too.

    Raises:
        InvalidArgumentError: The layer is a GRU, where no gate drops the candidate alone; or an argument is
            not as described above.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import UpdateDropoutWrapper
        >>> layer = UpdateDropoutWrapper(keras.layers.LSTM(4, return_sequences=True), rate=0.3)
        >>> layer(keras.ops.ones((2, 3, 5)), training=True).shape
        TensorShape([2, 3, 4])

    Reference:
        Semeniuta, Severyn, Barth (2016), "Recurrent Dropout without Memory Loss", arXiv 1603.05118. They call
        a mask at each step "per-step" and one for all steps "per-sequence".
    """

    technique_id = "update"

    def rewrite(self, call: KernelCall) -> KernelCall:
        """Drops the updates of random units."""
        shape = self._shape((*ops.shape(call.sequences)[:2], call.units))
        return drop_update(call, dropped(shape, self.rates["recurrent"], self.seed_generator))

    def inference_rewrite(self) -> Rewrite | None:
        """Returns the rewrite that replaces draws by their expectation."""
        if "recurrent" not in self.sites:
            return None
        rate = ops.convert_to_tensor(self.rates["recurrent"])
        return lambda call: expect_update(call, rate)
