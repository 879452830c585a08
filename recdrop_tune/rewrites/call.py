"""The arguments of one recurrent kernel call, and the type of a rewrite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

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
        sequences: Shape `(batch, time, features)`.
        initial_state: `(h, c)` for the LSTM, `(h,)` for the GRU, each `(batch, units)`.
        kernel: Shape `(features, gates * units)`.
        recurrent_kernel: Shape `(units, gates * units)`.
        bias: Shape `(gates * units,)`; `(2, gates * units)` for a GRU with `reset_after`.
        mask: Booleans of shape `(batch, time)`.
        reset_after: GRU only: whether the reset gate acts after the matrix product, as in cuDNN.
        forcings: Gates to force, which any kernel can do (see `absorb_forcings`).
        input_noise: `(gates, batch, features)`: one factor for `sequences` per gate. Step loop only.
        state_noise: `(gates, batch, units)`: one factor for the fed-back h per gate. Step loop only.
        cell_kept: The fraction of the previous c that replaces the new one: a scalar. Step loop, LSTM only.
        hidden_kept: The same for h, a scalar or `(batch, time, units)`. Step loop only.
        update_missing: The fraction that a step does not add to c: a scalar. Step loop, LSTM only.
        output_scale: `(batch or 1, time, 1)`: factor for the output sequence, in the order of the outputs.
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
    update_missing: Tensor | None = None
    output_scale: Tensor | None = None

    @property
    def needs_loop(self) -> bool:
        """Whether a rewrite needs something that no fused kernel computes."""
        noise, kept = (self.input_noise, self.state_noise), (self.cell_kept, self.hidden_kept)
        return any(part is not None for part in (*noise, *kept, self.update_missing))

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
