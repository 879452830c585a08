"""Keras's own dropout and recurrent_dropout as a wrapper: the baseline."""

from __future__ import annotations

from collections.abc import Iterable

import keras
from keras import ops

from recdrop_tune.kernels import Obstacle, for_all_steps
from recdrop_tune.rewrites import GATES, KernelCall, Tensor, drop_gate_inputs
from recdrop_tune.wrappers.wrapper import AbstractDropoutWrapper

_PER_GATE = Obstacle(
    "each sample and gate has its own noise, which no fused kernel can take",
    "use the wrapper `recurrent` or `variational`",
)


@keras.saving.register_keras_serializable(package="recdrop_tune")
class NativeDropoutWrapper(AbstractDropoutWrapper):
    """Drops like `keras.layers.LSTM(dropout=..., recurrent_dropout=...)`: the baseline.

        z_g = (x_t * m_x,g / (1 - p)) W_g + (h_{t-1} * m_h,g / (1 - q)) U_g + b_g

    Each sample has one mask for the whole sequence. With the site `recurrent`, each gate has its own mask
    too, which cuDNN cannot compute: like Keras's own, such a layer leaves cuDNN. With `input` alone
    it stays there. The equations are Keras's, but the rates can change without a new trace.
    Inference: the plain layer.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one,
            without its own dropout.
        rate: Fraction to drop, 0 <= rate < 1; or a dict with one rate for each site.
        placement: `"input"` (Keras's `dropout`), `"recurrent"` (its `recurrent_dropout`) or
            `"input+recurrent"`.
        **kwargs: `seed`, `activity_decay`, `temporal_decay`, `name`, `dtype` and `trainable`, as in
            `AbstractDropoutWrapper`, where the arguments of a call are too.

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

    def noise(self, site: str, tensor: Tensor) -> Tensor | None:
        """Draws one factor for each sample and feature; `None` if each gate has its own."""
        if "recurrent" in self.sites:
            return None
        return self._bernoulli(site, for_all_steps(ops.shape(tensor)))

    def rewrite(self, call: KernelCall) -> KernelCall:
        """Gives each gate its own noise on its inputs."""
        gates = len(GATES[call.cell])
        batch, _, features = ops.shape(call.sequences)
        input_noise = None
        if "input" in self.sites:
            input_noise = self._bernoulli("input", (gates, batch, features))
        state_noise = self._bernoulli("recurrent", (gates, batch, call.units))
        return drop_gate_inputs(call, input_noise, state_noise)

    @staticmethod
    def sharing(sites: Iterable[str]) -> tuple[str, Obstacle | None]:
        """Returns who shares a mask, in words, and what keeps it off cuDNN; also for Keras's own dropout."""
        if "recurrent" in sites:
            return "all steps of a sample, not its gates", _PER_GATE
        return "all steps of a sample", None

    @property
    def shares_mask(self) -> str:
        """All steps of a sample."""
        return self.sharing(self.sites)[0]

    @property
    def obstacle(self) -> Obstacle | None:
        """Noise for each gate."""
        return self.sharing(self.sites)[1]
