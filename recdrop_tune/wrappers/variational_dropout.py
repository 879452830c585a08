"""Variational dropout (Gal and Ghahramani), with the recurrent mask in the weights."""

from __future__ import annotations

from typing import Any, Unpack

import keras
from keras import ops

from recdrop_tune.errors import check_flag, check_integer
from recdrop_tune.kernels import for_all_steps
from recdrop_tune.rewrites import GATES, KernelCall, Tensor, drop_rows
from recdrop_tune.wrappers.rates import Rate
from recdrop_tune.wrappers.wrapper import AbstractDropoutWrapper, Shared, group_in_words


@keras.saving.register_keras_serializable(package="recdrop_tune")
class VariationalDropoutWrapper(AbstractDropoutWrapper):
    """Keeps one mask for a whole sequence: at the input, on the fed-back state, and at the output.

        z_g = (x_t * m_x) W_g + (h_{t-1} * m_h,g) U_g + b_g,   every m one draw for all steps

    At the input and the output each sample has its own mask. The recurrent mask multiplies rows of
    the recurrent kernel, so the samples of a mask group share it. This allows it to run on cuDNN, but the
    gradient is noisier than with a mask for each sample. A larger `mask_groups` draws more masks, at the
    cost of more kernel calls; for an LSTM, `RecurrentDropoutWrapper(per_step=False)` has one mask for each
    sample in a single call. The recurrent site does not mask the output. Inference: the plain layer.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one,
            without its own dropout.
        rate: Fraction to drop, 0 <= rate < 1; or a dict with one rate for each site.
        placement: `"input"`, `"recurrent"`, `"output"`, or several joined by `+`.
        tied_gates: Whether all gates share a mask. `False` draws one for each gate, as Keras's own
            `recurrent_dropout` does.
        mask_groups: The number of groups into which the batch is split, each with its own recurrent masks
            and kernel call.
        **shared: `seed`, `activity_decay`, `temporal_decay`, `name`, `dtype` and `trainable`, as in
            `AbstractDropoutWrapper`, where the arguments of a call are too.

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
    options = ("tied_gates", "mask_groups")

    def __init__(
        self,
        layer: Any,
        rate: Rate,
        *,
        placement: str = "recurrent",
        tied_gates: bool = True,
        mask_groups: int = 1,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(layer, rate, placement=placement, **shared)
        self.tied_gates = check_flag("tied_gates", tied_gates)
        self.mask_groups = check_integer("mask_groups", mask_groups)

    def noise(self, site: str, tensor: Tensor) -> Tensor:
        """Draws one factor for each sample and feature."""
        return self._bernoulli(site, for_all_steps(ops.shape(tensor)))

    def rewrite(self, call: KernelCall) -> KernelCall:
        """Drops rows of the recurrent kernel."""
        gates = 1 if self.tied_gates else len(GATES[call.cell])
        return drop_rows(call, self._bernoulli("recurrent", (call.units, gates)))

    @property
    def shares_mask(self) -> str:
        """All steps; with the recurrent site, also the samples of a group."""
        if "recurrent" not in self.sites:
            return "all steps of a sample"
        gates = "" if self.tied_gates else ", not its gates"
        rest = "; input and output: of a sample" if len(self.sites) > 1 else ""
        return f"all steps of {group_in_words(self.mask_groups)}{gates}{rest}"
