"""Zoneout: units keep their state for a step instead of being dropped."""

from __future__ import annotations

from typing import Any, Unpack

import keras
from keras import ops

from recdrop_tune.errors import invalid_argument
from recdrop_tune.kernels import Obstacle, cell_of, dropped
from recdrop_tune.rewrites import KernelCall, Rewrite, expect_zoneout, zone_out
from recdrop_tune.wrappers.rates import rates_by_site
from recdrop_tune.wrappers.wrapper import AbstractDropoutWrapper, Shared

_KEEPS_H = Obstacle(
    "no gate keeps an LSTM's h, so hidden_rate above 0 takes a step loop",
    "pass hidden_rate=0 and zone out the cell alone",
)


@keras.saving.register_keras_serializable(package="recdrop_tune")
class ZoneoutWrapper(AbstractDropoutWrapper):
    """Lets units keep their state for a step, with a new mask for each sample and step.

        LSTM:  c_t = c_{t-1}  with probability rate,  h_t = h_{t-1}  with probability hidden_rate
        GRU:   h_t = h_{t-1}  with probability rate

    The cell of an LSTM and the state of a GRU are kept by forcing gates, in one unmodified cuDNN
    call. No gate keeps an LSTM's h, so `hidden_rate` above 0 needs the step loop. An LSTM's h is computed
    from the cell after zoneout (in the paper: before it).

    Inference is *not* the plain layer: every draw is replaced by its expectation, c_t = rate *
    c_{t-1} + (1 - rate) * (the new cell), and the same for h. No fused kernel computes this, so it runs in
    the step loop.

    Args:
        layer: A `keras.layers.LSTM`, `keras.layers.GRU`, or `keras.layers.Bidirectional` of one,
            without its own dropout.
        rate: Probability that the cell (LSTM) or the state (GRU) is kept, 0 <= rate < 1.
        placement: `"recurrent"`, the only site of zoneout.
        hidden_rate: Probability that the h of an LSTM is kept. Whether it is 0 decides the kernel,
            so a value above 0 can only be changed to another one above 0.
        **shared: `seed`, `activity_decay`, `temporal_decay`, `name`, `dtype` and `trainable`, as in
            `AbstractDropoutWrapper`, where the arguments of a call are too.

    Raises:
        InvalidArgumentError: The layer, a rate or the placement is not as described above, or
            `hidden_rate` is given for a GRU.

    Example:
        >>> import keras
        >>> from recdrop_tune.wrappers import ZoneoutWrapper
        >>> layer = ZoneoutWrapper(keras.layers.LSTM(4, return_sequences=True), rate=0.15)
        >>> layer(keras.ops.ones((2, 3, 5)), training=True).shape
        TensorShape([2, 3, 4])

    Reference:
        Krueger et al. (2017), "Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations",
        arXiv 1606.01305.
    """

    technique_id = "zoneout"
    options = ("hidden_rate",)
    shares_mask = "nobody: one per sample and step"
    forces_gates = True

    def __init__(
        self,
        layer: Any,
        rate: float,
        *,
        placement: str = "recurrent",
        hidden_rate: float = 0.0,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(layer, rate, placement=placement, **shared)
        hidden_rate = _check_hidden(hidden_rate, layer)
        if hidden_rate:
            self._add_rate("hidden", hidden_rate)

    @property
    def hidden_rate(self) -> float:
        """The configured probability that the h of an LSTM is kept."""
        return self.configured_rates.get("hidden", 0.0)

    @hidden_rate.setter
    def hidden_rate(self, value: float) -> None:
        value = _check_hidden(value, self.layer)
        if bool(value) != bool(self.hidden_rate):
            raise invalid_argument(
                "hidden_rate",
                expected="a value above 0" if self.hidden_rate else "0",
                received=value,
                fix="Whether it is 0 decides the kernel. Make a new wrapper.",
            )
        if value:
            self.configured_rates = {"hidden": value}

    def rewrite(self, call: KernelCall) -> KernelCall:
        """Keeps the states of random units."""
        shape = (*ops.shape(call.sequences)[:2], call.units)
        zoned = dropped(shape, self.rates["recurrent"], self.seed_generator)
        hidden = None
        if "hidden" in self.rates:
            hidden = dropped(shape, self.rates["hidden"], self.seed_generator)
        return zone_out(call, zoned, hidden)

    def inference_rewrite(self) -> Rewrite:
        """Returns the rewrite that replaces draws by their expectation."""
        hidden = ops.convert_to_tensor(self.rates["hidden"]) if "hidden" in self.rates else None
        rate = ops.convert_to_tensor(self.rates["recurrent"])
        return lambda call: expect_zoneout(call, rate, hidden)

    @property
    def obstacle(self) -> Obstacle | None:
        """Zoneout of an LSTM's h."""
        return _KEEPS_H if "hidden" in self.rates else None


def _check_hidden(value: float, layer: Any) -> float:
    try:
        (checked,) = rates_by_site(value, ("hidden",)).values()
    except ValueError:
        raise invalid_argument("hidden_rate", expected="0 <= rate < 1", received=value) from None
    if checked and cell_of(layer) == "gru":
        raise invalid_argument(
            "hidden_rate",
            expected="0 for a GRU",
            received=value,
            fix="A GRU has one state: `rate` is the probability that it is kept.",
        )
    return checked
