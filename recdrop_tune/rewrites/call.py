"""The arguments of one recurrent kernel call, what it means to rewrite them, and noise to do it with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import ops

Tensor = Any
"""A tensor of whichever Keras backend is active."""

Cell = Literal["lstm", "gru"]


@dataclass(frozen=True)
class GateForcing:
    """Sets gates of single units to exactly 0 or 1, per sample and per time step.

    Attributes:
        bits: Shape `(batch, time, units)`: 1 where the gates are forced, 0 where they are free.
        gates: Pairs of a gate's name (see `GATES`) and the value, 0 or 1, it is forced to.
    """

    bits: Tensor
    gates: tuple[tuple[str, Literal[0, 1]], ...]


@dataclass(frozen=True)
class KernelCall:
    """The arguments that a Keras LSTM or GRU layer gives its kernel, and those that rewrites may add.

    Attributes:
        cell: `"lstm"` or `"gru"`.
        sequences: Shape `(batch, time, features)`.
        initial_state: `(h, c)` for the LSTM, `(h,)` for the GRU, each `(batch, units)`.
        kernel: Shape `(features, gates * units)`.
        recurrent_kernel: Shape `(units, gates * units)`.
        bias: `None`, or shape `(gates * units,)`; `(2, gates * units)` for a GRU with `reset_after`.
        mask: `None`, or booleans of shape `(batch, time)`.
        go_backwards: Whether time runs from the last step to the first.
        reset_after: GRU only: whether the reset gate acts after the matrix product (cuDNN's way).
        forcings: Gates to force; any kernel can do it (see `absorb_forcings`).
        input_noise: `None`, or `(gates, batch, features)`: one factor for `sequences` per gate.
        state_noise: `None`, or `(gates, batch, units)`: one factor for the fed-back h per gate.
            Per sample and per gate, so only a step loop can apply these two.
        cell_kept: `None`, or the fraction of the previous c that stays in place of the new one: a
            scalar. An LSTM's, and for the step loop alone.
        hidden_kept: The same for h, a scalar or `(batch, time, units)`.
        output_scale: `None`, or `(batch or 1, time, 1)`: factor for the emitted sequence, in the
            order in which steps are emitted.
    """

    cell: Cell
    sequences: Tensor
    initial_state: tuple[Tensor, ...]
    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor | None = None
    mask: Tensor | None = None
    go_backwards: bool = False
    reset_after: bool = True
    forcings: tuple[GateForcing, ...] = ()
    input_noise: Tensor | None = None
    state_noise: Tensor | None = None
    cell_kept: Tensor | None = None
    hidden_kept: Tensor | None = None
    output_scale: Tensor | None = None

    @property
    def needs_loop(self) -> bool:
        """Whether a rewrite asks for something that no fused kernel computes."""
        loop_only = (self.input_noise, self.state_noise, self.cell_kept, self.hidden_kept)
        return any(part is not None for part in loop_only)

    @property
    def units(self) -> int:
        """The number of units of the layer."""
        return int(self.recurrent_kernel.shape[0])


Rewrite = Callable[[KernelCall], KernelCall]


def chain(*rewrites: Rewrite) -> Rewrite:
    """Composes rewrites: `chain(f, g)(call) == g(f(call))`; `chain()` is the identity."""

    def rewrite(call: KernelCall) -> KernelCall:
        for step in rewrites:
            call = step(call)
        return call

    return rewrite


# Noise. The rate may be a tensor, so that changing it needs no new trace.

Seed = Any  # keras.random.SeedGenerator; Keras ships no type information


def for_all_steps(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the shape of noise that all steps of a sequence share.

    Args:
        shape: `(batch, time, features)`; or `(batch, features)`, which is left as it is.
    """
    return shape if len(shape) == 2 else (shape[0], 1, shape[2])


def dropped(shape: Sequence[int | Tensor], rate: float | Tensor, seed: Seed) -> Tensor:
    """Draws booleans of the given shape: `True`, with probability `rate`, where a unit is dropped.

    Drawn in float32 whatever the compute dtype: float16 has so few values in [0, 1) that a rate such
    as 0.001 could not be kept.
    """
    return keras.random.uniform(tuple(shape), dtype="float32", seed=seed) < rate


def bernoulli(shape: Sequence[int | Tensor], rate: float | Tensor, seed: Seed) -> Tensor:
    """Draws dropout's own noise: 0 with probability `rate`, else `1 / (1 - rate)`; its mean is 1.

    Reference:
        Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014), "Dropout", JMLR 15.
    """
    kept = ops.logical_not(dropped(shape, rate, seed))
    return ops.cast(kept, "float32") / (1.0 - rate)


def gaussian(shape: Sequence[int | Tensor], rate: float | Tensor, seed: Seed) -> Tensor:
    """Draws Gaussian noise of mean 1 and variance `rate / (1 - rate)`, that of `bernoulli`.

    Reference:
        Srivastava et al. (2014), JMLR 15, section 10; Kingma, Salimans, Welling (2015), arXiv 1506.02557.
    """
    normal = keras.random.normal(tuple(shape), dtype="float32", seed=seed)
    return 1.0 + normal * ops.sqrt(ops.cast(rate / (1.0 - rate), "float32"))


def relaxed_bernoulli(
    shape: Sequence[int | Tensor], logit: Tensor, temperature: float, seed: Seed
) -> Tensor:
    """Draws dropout's noise so softly that the rate gets a gradient.

        noise = (1 - sigmoid((logit + log u - log(1 - u)) / temperature)) / (1 - p),   u uniform in (0, 1)

    with p = sigmoid(logit). As the temperature t falls to 0 this becomes `bernoulli(shape, p)`. Above 0 its
    mean is not quite 1. For sigmoid(x / t) is the probability that a logistic variable of scale t is below x,
    so 1 - E[noise] (1 - p) is the probability that the sum of two such variables, of scales 1 and t, is below
    `logit`. To second order in t that is p + t^2 pi^2 / 6 p (1 - p) (1 - 2p), and

        E[noise] = 1 - t^2 pi^2 / 6 p (1 - 2p)

    At t = 0.1 that is 1 to within 0.0021 where p is at most 1/2.

    Args:
        shape: Shape of the noise.
        logit: Scalar, log(p / (1 - p)); its dtype is that of the noise.
        temperature: Above 0.
        seed: Where the noise comes from.

    Reference:
        Gal, Hron, Kendall (2017), "Concrete Dropout", arXiv 1705.07832; for the relaxation Maddison,
        Mnih, Teh (2017), arXiv 1611.00712, and Jang, Gu, Poole (2017), arXiv 1611.01144.
    """
    uniform = ops.cast(keras.random.uniform(tuple(shape), dtype="float32", seed=seed), logit.dtype)
    # Where u is 0 its logarithm is -inf: nothing is dropped, and the gradient is 0.
    odds = ops.log(uniform) - ops.log1p(-uniform)
    dropped = ops.sigmoid((logit + odds) / temperature)
    return (1.0 - dropped) * (1.0 + ops.exp(logit))  # 1 + exp(logit) = 1 / (1 - p)
