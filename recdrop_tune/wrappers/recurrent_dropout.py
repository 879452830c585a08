"""Dropout inside the recurrence, per sample and per step, in one fused kernel call."""

from __future__ import annotations

from typing import Any, Unpack

import keras
from keras import ops

from recdrop_tune.errors import check_flag
from recdrop_tune.kernels import dropped, for_all_steps
from recdrop_tune.rewrites import KernelCall, Tensor, drop_recurrent
from recdrop_tune.wrappers.rates import Rate
from recdrop_tune.wrappers.wrapper import AbstractDropoutWrapper, Shared


@keras.saving.register_keras_serializable(package="recdrop_tune")
class RecurrentDropoutWrapper(AbstractDropoutWrapper):
    """Drops units inside the recurrence, with a new mask for each sample and step.

    With m ~ Bernoulli(1 - rate), one for each sample, step and unit:

        LSTM:  h_{t-1} is fed back as  m_{t-1} * h_{t-1} / (1 - rate)
        GRU:   the candidate reads     m_t / (1 - rate) * r_t * (U_n h_{t-1} + b'_n)
               without `reset_after`   U_n (m_t / (1 - rate) * r_t * h_{t-1})

    One gate is forced to 0 by extra input features and constant kernel rows, in a single unmodified cuDNN
    call. An LSTM's initial h is fed back and dropped like any other. This drops the *unit*: with
    `return_sequences=True`, the output sequence of an LSTM has the same masks, scaled by 1 / (1 - rate), so
    the next layer sees the unit dropped too. The last step of a sequence feeds nothing back and is not
    dropped: the last output and the states are those of dropout on the fed-back copy only. A GRU's output
    is never masked. Inference: the plain layer.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one,
            without its own dropout.
        rate: Fraction to drop, 0 <= rate < 1; or a dict with one rate for each site.
        placement: `"input"`, `"recurrent"`, `"output"`, or several joined by `+`. The masks of the last two
            multiply: at a rate of 0.5, `"recurrent+output"` drops 75 % of an LSTM's outputs.
        per_step: Whether to draw a new mask at each step, at every site, instead of one for the whole
            sequence.
        **shared: `seed`, `activity_decay`, `temporal_decay`, `name`, `dtype` and `trainable`, as in
            `AbstractDropoutWrapper`, where the arguments of a call are too.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import RecurrentDropoutWrapper
        >>> layer = RecurrentDropoutWrapper(keras.layers.GRU(4, return_sequences=True), rate=0.3)
        >>> layer(keras.ops.ones((2, 3, 5)), training=True).shape
        TensorShape([2, 3, 4])

    Reference:
        Gal and Ghahramani (2016), "A Theoretically Grounded Application of Dropout in Recurrent Neural
        Networks", arXiv 1512.05287, drop the fed-back h, with one mask for all steps of a sample, shared by
        the gates or not. `per_step=False` does so with shared gates, but theirs leaves the outputs alone.
        Semeniuta et al. (2016), arXiv 1603.05118, compare masks for each step and for all steps, and propose
        to drop the candidate g instead. Moon et al. (2015), RNNDrop, drop the cell state c. The GRU's variant
        has no published source that we know.
    """

    technique_id = "recurrent"
    forces_gates = True
    options = ("per_step",)

    def __init__(
        self,
        layer: Any,
        rate: Rate,
        *,
        placement: str = "recurrent",
        per_step: bool = True,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(layer, rate, placement=placement, **shared)
        self.per_step = check_flag("per_step", per_step)

    def noise(self, site: str, tensor: Tensor) -> Tensor:
        """Draws one factor for each sample and feature, and for each step if `per_step`."""
        return self._bernoulli(site, self._shape(ops.shape(tensor)))

    def _shape(self, shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return shape if self.per_step else for_all_steps(shape)

    def rewrite(self, call: KernelCall) -> KernelCall:
        """Drops units from the fed-back state."""
        batch, time = ops.shape(call.sequences)[:2]
        rate = ops.convert_to_tensor(self.rates["recurrent"])
        at_steps = dropped(self._shape((batch, time, call.units)), rate, self.seed_generator)
        initial = at_steps[:, 0]  # The mask of the whole sequence.
        if self.per_step:
            initial = dropped((batch, call.units), rate, self.seed_generator)
        return drop_recurrent(call, at_steps, initial, rate)

    @property
    def shares_mask(self) -> str:
        """All steps, or nobody."""
        return "nobody: one per sample and step" if self.per_step else "all steps of a sample"
