"""Groups of a batch, each with a kernel call of its own, so that each can have its own weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from keras import ops

from recdrop_tune.engine._select import run
from recdrop_tune.rewrites import KernelCall, Rewrite
from recdrop_tune.rewrites._call import Tensor


def run_in_groups(
    call: KernelCall, layer: Any, rewrite: Rewrite, groups: int
) -> tuple[Tensor, ...]:
    """Splits the batch into groups, rewrites and runs each by itself, and joins the results.

    All groups have the same size: a batch that does not divide is filled up with zeros, and what
    comes of these is cut off. So no group is ever empty, which cuDNN would not take.

    Args:
        call: The call, not rewritten yet.
        layer: The layer it came from.
        rewrite: Called once for each group.
        groups: Number of groups.
    """
    batch = ops.shape(call.sequences)[0]
    size = (batch + groups - 1) // groups
    padded = _map_batch(call, lambda tensor: _pad(tensor, size * groups - batch))
    results = [
        run(rewrite(_map_batch(padded, lambda t, i=i: t[i * size : (i + 1) * size])), layer)
        for i in range(groups)
    ]
    return tuple(ops.concatenate(parts, axis=0)[:batch] for parts in zip(*results, strict=True))


def _map_batch(call: KernelCall, function: Any) -> KernelCall:
    return replace(
        call,
        sequences=function(call.sequences),
        initial_state=tuple(function(state) for state in call.initial_state),
        mask=None if call.mask is None else function(call.mask),
    )


def _pad(tensor: Tensor, missing: Any) -> Tensor:
    """Appends rows to the batch: zeros, or `True` for a mask, since cuDNN wants valid steps."""
    fill = True if "bool" in str(tensor.dtype) else 0
    widths = [[0, missing]] + [[0, 0]] * (len(tensor.shape) - 1)
    return ops.pad(tensor, widths, constant_values=fill)
