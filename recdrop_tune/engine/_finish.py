"""What every kernel's results go through before they are the layer's."""

from __future__ import annotations

from typing import Any

from keras import ops

from recdrop_tune.rewrites import KernelCall
from recdrop_tune.rewrites._call import Tensor


def finish(
    call: KernelCall, layer: Any, last: Tensor, outputs: Tensor, states: Any
) -> tuple[Tensor, ...]:
    """Picks the last output or the sequence, and scales the sequence where a rewrite asks for it."""
    if not layer.return_sequences:
        return (last, *states)
    if call.output_scale is not None:
        outputs = outputs * ops.cast(call.output_scale, outputs.dtype)
    return (outputs, *states)
