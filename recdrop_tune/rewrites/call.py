"""The arguments of one recurrent kernel call, the type of a rewrite, and noise for rewrites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import ops

Tensor = Any
"""A tensor of the active Keras backend."""

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
    """The arguments that a Keras LSTM or GRU layer passes to its kernel, and those that rewrites add.

    Attributes:
        cell: `"lstm"` or `"gru"`.
        sequences: Shape `(batch, time, features)`.
        initial_state: `(h, c)` for the LSTM, `(h,)` for the GRU, each `(batch, units)`.
        kernel: Shape `(features, gates * units)`.
        recurrent_kernel: Shape `(units, gates * units)`.
        bias: `None`, or shape `(gates * units,)`; `(2, gates * units)` for a GRU with `reset_after`.
        mask: `None`, or booleans of shape `(batch, time)`.
        go_backwards: Whether time runs from the last step to the first.
        reset_after: GRU only: whether the reset gate acts after the matrix product, as in cuDNN.
        forcings: Gates to force, which any kernel can do (see `absorb_forcings`).
        input_noise: `None`, or `(gates, batch, features)`: one factor for `sequences` per gate.
        state_noise: `None`, or `(gates, batch, units)`: one factor for the fed-back h per gate.
            Only a step loop can apply these two, which differ per sample and per gate.
        cell_kept: `None`, or the fraction of the previous c that replaces the new one: a scalar. Only for
            an LSTM in the step loop.
        hidden_kept: The same for h, a scalar or `(batch, time, units)`.
        output_scale: `None`, or `(batch or 1, time, 1)`: factor for the output sequence, in the order of
            the outputs.
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
        """Whether a rewrite needs something that no fused kernel computes."""
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


# Noise. The rate can be a tensor, so that a new value needs no new trace.

Seed = Any  # keras.random.SeedGenerator; Keras has no type information.


def for_all_steps(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the shape of noise that all steps of a sequence share.

    Args:
        shape: `(batch, time, features)`; or `(batch, features)`, which is returned as it is.
    """
    return shape if len(shape) == 2 else (shape[0], 1, shape[2])


def dropped(shape: Sequence[int | Tensor], rate: float | Tensor, seed: Seed) -> Tensor:
    """Draws booleans of the given shape: `True`, with probability `rate`, where a unit is dropped.

    Always drawn in float32: float16 has too few values in [0, 1) for a rate such as 0.001.
    """
    return keras.random.uniform(tuple(shape), dtype="float32", seed=seed) < rate


def bernoulli(shape: Sequence[int | Tensor], rate: float | Tensor, seed: Seed) -> Tensor:
    """Draws the noise of dropout: 0 with probability `rate`, else `1 / (1 - rate)`. Its mean is 1.

    Reference:
        Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014), "Dropout", JMLR 15.
    """
    kept = ops.logical_not(dropped(shape, rate, seed))
    return ops.cast(kept, "float32") / (1.0 - rate)


def gaussian(shape: Sequence[int | Tensor], rate: float | Tensor, seed: Seed) -> Tensor:
    """Draws Gaussian noise with the mean and variance of `bernoulli`: 1 and `rate / (1 - rate)`.

    Reference:
        Srivastava et al. (2014), JMLR 15, section 10; Kingma, Salimans, Welling (2015), arXiv 1506.02557.
    """
    normal = keras.random.normal(tuple(shape), dtype="float32", seed=seed)
    return 1.0 + normal * ops.sqrt(ops.cast(rate / (1.0 - rate), "float32"))


def relaxed_bernoulli(
    shape: Sequence[int | Tensor], logit: Tensor, temperature: float, seed: Seed
) -> Tensor:
    """Draws soft dropout noise, through which the rate gets a gradient.

        noise = (1 - sigmoid((logit + log u - log(1 - u)) / temperature)) / (1 - p),   u uniform in (0, 1)

    with p = sigmoid(logit). As the temperature t goes to 0, this becomes `bernoulli(shape, p)`. Above 0, its
    mean is not exactly 1: sigmoid(x / t) is the probability that a logistic variable of scale t is below x,
    so 1 - E[noise] (1 - p) is the probability that the sum of two such variables, of scales 1 and t, is below
    `logit`. To second order in t this is p + t^2 pi^2 / 6 p (1 - p) (1 - 2p), so

        E[noise] = 1 - t^2 pi^2 / 6 p (1 - 2p)

    At t = 0.1 this is 1 to within 0.0021 for p up to 1/2.

    Args:
        shape: Shape of the noise.
        logit: Scalar, log(p / (1 - p)). The noise has its dtype.
        temperature: Above 0.
        seed: The seed generator.

    Reference:
        Gal, Hron, Kendall (2017), "Concrete Dropout", arXiv 1705.07832; for the relaxation Maddison,
        Mnih, Teh (2017), arXiv 1611.00712, and Jang, Gu, Poole (2017), arXiv 1611.01144.
    """
    uniform = ops.cast(keras.random.uniform(tuple(shape), dtype="float32", seed=seed), logit.dtype)
    # The logarithm of u = 0 is -inf: nothing is dropped, and the gradient is 0.
    odds = ops.log(uniform) - ops.log1p(-uniform)
    dropped = ops.sigmoid((logit + odds) / temperature)
    return (1.0 - dropped) * (1.0 + ops.exp(logit))  # 1 + exp(logit) = 1 / (1 - p)
