"""Gal and Ghahramani's variational dropout, with the recurrent mask in the weights."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recdrop_tune.errors import check_flag, check_integer
from recdrop_tune.rewrites import GATES, KernelCall, Tensor, bernoulli, drop_rows
from recdrop_tune.wrappers.rates import Rate
from recdrop_tune.wrappers.wrapper import AbstractDropoutWrapper


@keras.saving.register_keras_serializable(package="recdrop_tune")
class VariationalDropoutWrapper(AbstractDropoutWrapper):
    """Keeps one mask for a whole sequence, at the input, on what is fed back, and at the output.

        z_g = (x_t * m_x) W_g + (h_{t-1} * m_h,g) U_g + b_g,   every m one draw for all steps

    At the input and the output each sample has its own mask. The recurrent mask multiplies rows of
    the recurrent kernel, so it is shared by the samples of a mask group: that is what lets it run on
    cuDNN, and the price is a noisier gradient than with a mask for each sample. `mask_groups` buys
    more masks with more kernel calls. What is emitted is not masked by the recurrent site.
    Inference: the plain layer.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one.
        rate: Fraction to drop, 0 <= rate < 1; or a dict with one rate for each site.
        placement: `"input"`, `"recurrent"`, `"output"`, or several joined by `+`.
        tied_gates: `True` has all gates read the same mask, `False` draws one for each gate, as
            Keras's own `recurrent_dropout` does.
        mask_groups: Into how many groups to split the batch, each with recurrent masks, and a
            kernel call, of its own.
        seed: Integer seed of the noise.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        sequences: Shape `(batch, time, features)`.
        mask: Booleans of shape `(batch, time)`.
        training: Whether to drop.
        initial_state: The layer's initial states, each of shape `(batch, units)`.

    Raises:
        InvalidArgumentError: The layer, a rate, the placement or `mask_groups` is none of the above.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import VariationalDropoutWrapper
        >>> layer = VariationalDropoutWrapper(
        ...     keras.layers.LSTM(4), rate=0.25, placement="input+recurrent"
        ... )
        >>> layer(keras.ops.ones((2, 3, 5)), training=True).shape
        TensorShape([2, 4])

    Reference:
        Gal and Ghahramani (2016), "A Theoretically Grounded Application of Dropout in Recurrent Neural
        Networks", arXiv 1512.05287.
    """

    technique_id = "variational"

    def __init__(
        self,
        layer: Any,
        rate: Rate,
        placement: str = "recurrent",
        tied_gates: bool = True,
        mask_groups: int = 1,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, rate, placement, seed, **kwargs)
        self.tied_gates = check_flag("tied_gates", tied_gates)
        self.mask_groups = check_integer("mask_groups", mask_groups)

    def input_noise(self, sequences: Tensor) -> Tensor:
        """Draws one factor for each sample and feature."""
        batch, _, features = ops.shape(sequences)
        return bernoulli((batch, 1, features), self.rates["input"], self.seed_generator)

    def output_noise(self, output: Tensor) -> Tensor:
        """Draws one factor for each sample and unit."""
        shape = ops.shape(output)
        shape = shape if len(shape) == 2 else (shape[0], 1, shape[2])
        return bernoulli(shape, self.rates["output"], self.seed_generator)

    def rewrite(self, call: KernelCall) -> KernelCall:
        """Drops rows of the recurrent kernel."""
        gates = 1 if self.tied_gates else len(GATES[call.cell])
        noise = bernoulli((call.units, gates), self.rates["recurrent"], self.seed_generator)
        return drop_rows(call, noise)

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration."""
        own = {"tied_gates": self.tied_gates, "mask_groups": self.mask_groups}
        return {**super().get_config(), **own}
